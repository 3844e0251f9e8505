package procworker

import (
	"strconv"
	"strings"
	"time"
)

// Names of the variables of sd_notify(3) and sd_watchdog_enabled(3).
const (
	envNotify       = "NOTIFY_SOCKET"
	envWatchdog     = "WATCHDOG_USEC"
	envWatchdogPID  = "WATCHDOG_PID"
	notifyMaxLength = 64 << 10 // of one datagram; the rest of it is lost
)

// A notification is one datagram that somebody has sent to the child's
// notification socket.
type notification struct {
	text   string
	sender sender
}

// A sender is whom the kernel names as the sender of a datagram.
type sender struct {
	known bool // where the kernel tells
	pid   int
	uid   uint32
}

// listen reads the notification socket to its end.
func (g *generation) listen() {
	defer close(g.notified)
	for {
		n, err := g.notify.next()
		if err != nil {
			return
		}
		if g.proc.sent(n.sender) {
			g.heed(n.text)
		}
	}
}

// heed acts on one datagram: lines of VARIABLE=VALUE, as in sd_notify(3). What
// is not known is ignored, MAINPID too: the child is the one that was started.
func (g *generation) heed(text string) {
	lines := strings.Split(text, "\n")
	for _, line := range lines { // first, for those who hear that it is ready
		if status, ok := strings.CutPrefix(line, "STATUS="); ok {
			g.w.setStatus(status)
		}
	}
	for _, line := range lines {
		switch line {
		case "WATCHDOG=1":
			g.touch()
		case "READY=1":
			g.touch()
			if g.readiness == ReadyNotify {
				g.w.becomeReady(g)
			}
		case "STOPPING=1":
			g.w.stopping()
		}
	}
}

// notifyEnvironment returns env with what tells of the child's notification
// socket, and of no other one.
func notifyEnvironment(env []string, address string, heartbeat time.Duration) []string {
	kept := env[:0]
	for _, entry := range env {
		switch key, _, _ := strings.Cut(entry, "="); key {
		case envNotify, envWatchdog, envWatchdogPID:
		default:
			kept = append(kept, entry)
		}
	}
	kept = append(kept, envNotify+"="+address)
	if heartbeat > 0 {
		kept = append(kept, envWatchdog+"="+strconv.FormatInt(max(heartbeat.Microseconds(), 1), 10))
	}
	return kept
}
