package procworker

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// isSubreaper asks the kernel, so that it does not matter who has made this
// process one. The first process of a container is one by birth.
func isSubreaper() bool {
	var is int32
	_, _, errno := unix.RawSyscall(unix.SYS_PRCTL, unix.PR_GET_CHILD_SUBREAPER, uintptr(unsafe.Pointer(&is)), 0)
	return errno == 0 && is != 0 || os.Getpid() == 1
}

// A sweep looks at the orphans again and again, until a look has told all.
type sweep struct {
	known map[int]bool // those that were dead at an earlier look
	again bool         // the last look may have missed somebody
	vain  int          // looks in a row that found nobody to kill
}

// sweepVain bounds the looks that find nobody. Where processes come and end all
// the time, each look may have missed somebody; so many in a row have not.
const sweepVain = 100

func newSweep() *sweep { return &sweep{known: make(map[int]bool), again: true} }

// goesOn reports whether another look is needed.
func (s *sweep) goesOn() bool {
	goesOn := s.again && s.vain < sweepVain
	s.again = false
	s.vain++
	return goesOn
}

// killed notes that an orphan was killed: its children are orphans now.
func (s *sweep) killed() { s.again, s.vain = true, 0 }

// spared notes that an orphan was not killed. If it has died since the list was
// read, its children may have come after that. And if it was waited for, the
// kernel may have skipped somebody: it goes on behind the last entry that it has
// told, and has to count if that is not there any more (get_children_pid in
// fs/proc/array.c).
func (s *sweep) spared(pid int) {
	now, err := readStat(pid)
	switch {
	case err != nil || now.parent != os.Getpid():
		s.again = true
	case now.dead() && !s.known[pid]:
		s.known[pid] = true
		s.again = true
	}
}

// hunt kills and reaps the orphans that belong to a dead child, until there
// are none. The child itself is not reaped yet, so its number is still its own.
func hunt(child int, cookie string) {
	for s := newSweep(); s.goesOn(); {
		for _, pid := range orphans() {
			if pid != child && belongs(pid, child, cookie) && destroy(pid) {
				s.killed()
			} else {
				s.spared(pid)
			}
		}
	}
}

// destroy kills an orphan with all that hangs below it, and reaps it. One
// that it may not kill is reaped if it is dead; it reports whether it was.
func destroy(pid int) (reaped bool) {
	killAll(freeze(pid))
	options := 0
	if errors.Is(syscall.Kill(pid, syscall.SIGKILL), syscall.EPERM) {
		options = syscall.WNOHANG
	}
	for {
		if got, err := syscall.Wait4(pid, nil, options, nil); err != syscall.EINTR {
			return got == pid
		}
	}
}

// belongs reports whether a process is in the child's group or carries its
// cookie.
func belongs(pid, child int, cookie string) bool {
	s, err := readStat(pid)
	if err != nil {
		return false
	}
	return s.group == child || hasCookie(pid, cookie)
}

// hasCookie looks for the cookie in a process's environment.
func hasCookie(pid int, cookie string) bool {
	dir := procPath(pid, "")
	for range transitTries {
		env, err := os.ReadFile(dir + "environ")
		if len(env) > 0 {
			return carries(string(env), cookie)
		}
		if errors.Is(err, fs.ErrPermission) {
			return false // another user's
		}
		// It has none, or it is on its way from one program to the next, or to
		// its end, where its children become ours (Linux 6.18 says ESRCH then, as
		// if it were gone already). Nothing tells when it has arrived.
		s, err := readStat(pid)
		if err != nil || s.dead() || s.bare {
			return false
		}
		if s.dir == dir {
			time.Sleep(time.Millisecond)
		}
		dir = s.dir
	}
	return false
}

// carries looks for the cookie among those of an environment.
func carries(env, cookie string) bool {
	for entry := range strings.SplitSeq(env, "\x00") {
		if cookies, ok := strings.CutPrefix(entry, envSpawn+"="); ok && slices.Contains(strings.Split(cookies, ":"), cookie) {
			return true
		}
	}
	return false
}

// transitTries bounds, in milliseconds, how long a process may be on its way.
const transitTries = 5000
