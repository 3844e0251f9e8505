package procworker

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
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

// A verdict is what a look tells of a process.
type verdict int

const (
	stranger verdict = iota // it does not belong to the child, or is gone
	unclear                 // it is on its way to another program, or to its end
	prey                    // it belongs to the child
)

// hunt kills and reaps the orphans that belong to a dead child, until there
// are none. The child itself is not reaped yet, so its number is still its own.
func hunt(child int, cookie string) {
	for s := newSweep(); s.goesOn(); {
		pids, ok := orphans()
		s.rest = !ok
		for _, pid := range pids {
			if pid != child {
				s.look(pid, os.Getpid(), child, cookie)
			}
		}
		s.kill()
	}
}

// reap waits for an orphan that is dead, and reports whether it was.
func reap(pid int) bool {
	for {
		if got, err := syscall.Wait4(pid, nil, syscall.WNOHANG, nil); err != syscall.EINTR {
			return got == pid
		}
	}
}

// belongs reports whether a process is in the child's group or carries its
// cookie.
func belongs(pid, child int, cookie string) verdict {
	before, err := readStat(pid)
	switch {
	case isGone(err):
		return stranger
	case err != nil:
		return unclear
	case before.group == child:
		return prey
	case before.dead():
		return stranger
	}
	env, err := os.ReadFile(before.dir + "environ")
	if carries(string(env), cookie) {
		return prey
	}
	if errors.Is(err, fs.ErrPermission) {
		return stranger // another user's, or as good as that
	}
	// It does not carry it; or not all could be read, because it is on its way
	// from one program to the next, or to its end, where its children become
	// ours (Linux 6.18 says ESRCH then, as if it were gone already).
	now, gone := readStat(pid)
	if gone != nil && !isGone(gone) {
		return unclear
	}
	if gone == nil && !now.dead() && (err != nil || now.memory != before.memory || !now.memory.settled()) {
		return unclear
	}
	return stranger
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
