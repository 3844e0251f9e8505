package procworker

import (
	"errors"
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

// hunt kills and reaps the orphans that belong to a dead child, until there
// are none. The child itself is not reaped yet, so its number is still its own.
func hunt(child int, cookie string) {
	// The kernel may skip an entry of a list that changes while it is read;
	// so only an empty list, or two lists without prey, are the end.
	for misses := 0; misses < 2; {
		pids := orphans()
		if len(pids) == 0 {
			return
		}
		found := false
		for _, pid := range pids {
			if pid != child && belongs(pid, child, cookie) {
				found = destroy(pid) || found
			}
		}
		if found {
			misses = 0
		} else {
			misses++
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
	for range transitTries {
		env, err := os.ReadFile(procPath(pid, "environ"))
		if err != nil {
			return false // it is gone, or another user's
		}
		if len(env) > 0 {
			return carries(string(env), cookie)
		}
		// It has none, or it is on its way from one program to the next, or to
		// its end, where its children become ours. Nothing tells when it has
		// arrived.
		if s, err := readStat(pid); err != nil || s.dead() || s.bare {
			return false
		}
		time.Sleep(time.Millisecond)
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
