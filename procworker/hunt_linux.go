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

// A verdict is what a look tells of a process.
type verdict int

const (
	stranger verdict = iota // it does not belong to the child, or cannot be killed
	unclear                 // it is on its way to another program, or to its end
	prey                    // it belongs to the child
)

// A sweep looks at the orphans again and again, until a look has told all.
type sweep struct {
	dead  map[int]bool // at an earlier look
	gone  map[int]bool // at an earlier look
	again bool         // the last look may have missed somebody
	rest  bool         // somebody was unclear
	vain  int          // looks in a row that found nobody to kill
	rests int
}

const (
	// sweepVain bounds the looks that find nobody. Where processes come and end
	// all the time, each look may have missed somebody; so many in a row have not.
	sweepVain = 100
	// sweepRests bounds, in milliseconds, how long it waits for those that are
	// unclear. Executing a program takes some moments, and the end of a large
	// process as well.
	sweepRests = 5000
)

func newSweep() *sweep {
	return &sweep{dead: make(map[int]bool), gone: make(map[int]bool), again: true}
}

// goesOn reports whether another look is needed, and when it is time for it.
func (s *sweep) goesOn() bool {
	switch {
	case s.rest && s.rests < sweepRests:
		time.Sleep(time.Millisecond) // nothing tells when they have arrived
		s.rests++
	case !s.again || s.vain >= sweepVain:
		return false
	default:
		s.vain++
	}
	s.again, s.rest = false, false
	return true
}

// note notes what a look has told of an orphan. Prey has been killed by now, so
// its children are orphans.
//
// One that has died since the list was read may have left children behind that
// are not in it. And if it was waited for, the kernel may have skipped somebody:
// it goes on behind the last entry that it has told, and has to count if that is
// not there any more (get_children_pid in fs/proc/array.c).
func (s *sweep) note(pid int, v verdict) {
	switch v {
	case prey:
		s.again, s.vain = true, 0
		return
	case unclear:
		s.rest = true
	}
	now, err := readStat(pid)
	switch {
	case err != nil || now.parent != os.Getpid():
		// One that is there again and again is hidden from us (hidepid, proc(5)).
		s.again = s.again || !s.gone[pid]
		s.gone[pid] = true
	case now.dead():
		s.again = s.again || !s.dead[pid]
		s.dead[pid] = true
	}
}

// hunt kills and reaps the orphans that belong to a dead child, until there
// are none. The child itself is not reaped yet, so its number is still its own.
func hunt(child int, cookie string) {
	for s := newSweep(); s.goesOn(); {
		for _, pid := range orphans() {
			if pid != child {
				s.note(pid, judge(pid, child, cookie))
			}
		}
	}
}

// judge kills an orphan that belongs to a child, or what does below it.
func judge(pid, child int, cookie string) verdict {
	switch v := belongs(pid, child, cookie); {
	case v == stranger:
		return judgeBelow(pid, child, cookie)
	case v == prey && !destroy(pid):
		return stranger
	default:
		return v
	}
}

// judgeBelow kills one that belongs to a child below one that does not, such as
// one that has cleared its environment since.
func judgeBelow(parent, child int, cookie string) (v verdict) {
	for _, pid := range children(parent) {
		found := belongs(pid, child, cookie)
		switch {
		case found == stranger:
			found = judgeBelow(pid, child, cookie)
		case found == prey && !killBelow(pid, parent):
			found = stranger
		}
		v = max(v, found)
		if v == prey {
			return v
		}
	}
	return v
}

// killBelow kills a child of another process, with all that hangs below it. It
// reports whether it was there, alive, and not another user's.
func killBelow(pid, parent int) bool {
	h, ok := open(pid, func(s stat) bool { return s.parent == parent && !s.dead() })
	if !ok {
		return false
	}
	if !h.mayKill() {
		_ = unix.Close(int(h))
		return false
	}
	killAll(freeze(pid))
	h.kill()
	return true
}

// destroy kills an orphan with all that hangs below it, and reaps it. It reports
// whether it did: not one that it may not kill, nor one that somebody traces,
// who is told of its end first (ptrace(2)).
func destroy(pid int) (reaped bool) {
	h, ok := open(pid, func(s stat) bool { return s.parent == os.Getpid() })
	killAll(freeze(pid))
	switch {
	case !ok: // there is no descriptor left for a handle
		if errors.Is(syscall.Kill(pid, syscall.SIGKILL), syscall.EPERM) {
			return wait(pid, syscall.WNOHANG)
		}
		return wait(pid, 0)
	case h.mayKill():
		h.kill()
	default:
		_ = unix.Close(int(h))
	}
	return wait(pid, syscall.WNOHANG)
}

// wait reaps a process, and reports whether it did.
func wait(pid, options int) bool {
	for {
		if got, err := syscall.Wait4(pid, nil, options, nil); err != syscall.EINTR {
			return got == pid
		}
	}
}

// belongs reports whether a process is in the child's group or carries its
// cookie.
func belongs(pid, child int, cookie string) verdict {
	before, err := readStat(pid)
	switch {
	case err != nil:
		return stranger
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
