package master

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/poppobuilder/poppobuilder/internal/api"
)

// A notifier tells the service manager how the daemon is doing, as
// sd_notify(3) says. Without a manager that wants to know it does nothing.
type notifier struct {
	manager string        // the service manager that started this process; empty: none
	watch   time.Duration // how often it wants a sign of life; 0: never

	mu   sync.Mutex // guards what follows; one state is sent at a time
	over bool       // the daemon is stopping, which is the last word
}

// newNotifier reads from the environment what the manager wants.
func newNotifier(environ []string) *notifier {
	n := &notifier{manager: manager(environ)}
	if interval, err := daemon.SdWatchdogEnabled(false); err == nil {
		n.watch = interval
	}
	return n
}

// send passes a state on. That nobody listens is no error, and what else can
// go wrong is the manager's: it notices by itself.
func (n *notifier) send(state string) { _, _ = daemon.SdNotify(false, state) }

// tell is send for what is not true of a daemon that stops.
func (n *notifier) tell(state string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.over {
		n.send(state)
	}
}

func (n *notifier) ready() { n.tell(daemon.SdNotifyReady + "\nSTATUS=Ready") }

func (n *notifier) stopping() {
	n.tell(daemon.SdNotifyStopping + "\nSTATUS=Stopping")
	n.mu.Lock()
	defer n.mu.Unlock()
	n.over = true
}

// reloading says that a reload begins; [notifier.ready] says that it is over.
func (n *notifier) reloading() {
	n.tell(daemon.SdNotifyReloading + "\nMONOTONIC_USEC=" + strconv.FormatInt(monotonicMicroseconds(), 10) + "\nSTATUS=Reloading")
}

// A watchdog tells the manager regularly that the daemon is alive.
type watchdog struct {
	notify *notifier
	every  time.Duration
	alive  func(context.Context) error
}

// watchdog returns the service that the manager asked for, or nil. It speaks
// only while alive answers in time.
func (n *notifier) watchdog(alive func(context.Context) error) *watchdog {
	if n.watch <= 0 {
		return nil
	}
	return &watchdog{notify: n, every: n.watch / 2, alive: alive}
}

func (*watchdog) String() string { return "watchdog" }

// Serve runs until ctx ends.
func (w *watchdog) Serve(ctx context.Context) error {
	tick := time.NewTicker(w.every)
	defer tick.Stop()
	for {
		if err := w.check(ctx); err == nil {
			w.notify.send(daemon.SdNotifyWatchdog)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (w *watchdog) check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, w.every)
	defer cancel()
	return w.alive(ctx)
}

// ManagerVariable names the service manager in the environment of a daemon
// that it started; the units that we print set it. A manager that is waiting
// for a notification shows itself.
const ManagerVariable = "POPPOBUILDER_MANAGER"

func manager(environ []string) string {
	var name string
	for _, entry := range environ {
		switch key, value, _ := strings.Cut(entry, "="); {
		case key == ManagerVariable && value != "":
			return value
		case key == "NOTIFY_SOCKET" && value != "":
			name = api.ManagerSystemd
		}
	}
	return name
}
