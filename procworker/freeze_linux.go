package procworker

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A handle is a pidfd: whatever is done through it cannot hit a process that
// has got the number of a dead one.
type handle int

// errOther says that a number is not the meant process's any more.
var errOther = fmt.Errorf("it is another process: %w", unix.ESRCH)

// open returns a handle of a process that still fits. The error [isGone] if
// there is none.
func open(pid int, fits func(stat) bool) (handle, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return 0, err
	}
	s, err := readStat(pid)
	if err == nil && !fits(s) {
		err = errOther
	}
	if err != nil {
		_ = unix.Close(fd)
		return 0, err
	}
	return handle(fd), nil
}

// mayKill reports whether this process may signal it: not if it has become
// another user, as what sudo starts has.
func (h handle) mayKill() bool {
	return !errors.Is(unix.PidfdSendSignal(int(h), 0, nil, 0), unix.EPERM)
}

// handles are those of some processes, parents first.
type handles []handle

// kill sends SIGKILL to all. Children go first: the kernel would wake a stopped
// group that is left without a parent.
func (hs handles) kill() {
	for _, h := range slices.Backward(hs) {
		_ = unix.PidfdSendSignal(int(h), unix.SIGKILL, nil, 0)
	}
}

// deathTimeout is how long the killed may take. One that waits for a disk or for
// who traces it takes longer.
const deathTimeout = 10 * time.Second

// await returns when all are dead that this process may kill, or after
// deathTimeout, and closes the handles. All must have been killed before: one
// may be traced by another one.
func (hs handles) await() {
	deadline := time.Now().Add(deathTimeout)
	for _, h := range hs {
		for h.mayKill() {
			left := max(0, time.Until(deadline).Milliseconds())
			if _, err := unix.Poll([]unix.PollFd{{Fd: int32(h), Events: unix.POLLIN}}, int(left)); !errors.Is(err, unix.EINTR) {
				break
			}
		}
		_ = unix.Close(int(h))
	}
}

// freezeTries bounds, in milliseconds, how long a process may take to stop.
const freezeTries = 200

// A freezer stops processes and keeps handles of them.
type freezer struct {
	below  handles
	seen   map[int]bool
	moving bool // somebody was still running at the last look
}

// freeze stops a process and all that hangs below it, and returns handles of
// the latter. What is not stopped can start more between the look
// and the kill; that would then hang below nobody.
func freeze(pid int) handles {
	stops := syscall.Kill(pid, syscall.SIGSTOP) == nil
	f := freezer{seen: make(map[int]bool)}
	for range freezeTries {
		f.moving = stops && moves(pid)
		f.look(pid)
		if !f.moving {
			break
		}
		time.Sleep(time.Millisecond) // nothing tells when they have stopped
	}
	return f.below
}

func (f *freezer) look(pid int) {
	pids, ok := children(pid)
	f.moving = f.moving || !ok
	for _, child := range pids {
		stops, seen := f.seen[child]
		if !seen {
			h, err := open(child, func(s stat) bool { return s.parent == pid })
			if err != nil {
				f.moving = f.moving || !isGone(err)
				continue
			}
			stops = unix.PidfdSendSignal(int(h), unix.SIGSTOP, nil, 0) == nil
			f.seen[child] = stops
			f.below = append(f.below, h)
		}
		f.moving = f.moving || stops && moves(child)
		f.look(child)
	}
}

// moves reports whether a process can start others: whether one of its threads
// is not stopped.
func moves(pid int) bool {
	s, err := readStat(pid)
	if err != nil || s.dead() {
		return false
	}
	if s.threads < 2 {
		return !s.stopped()
	}
	halted := 0
	for thread := range threads(pid) {
		switch {
		case thread.stopped():
			halted++
		case !thread.dead():
			return true
		}
	}
	return halted == 0 // they come and end faster than they can be read about
}

// awaitGroup returns when no member of a killed group is alive that this process
// may kill. Nearly always the first look tells.
func awaitGroup(group int) {
	killed := make(map[int]bool)
	for syscall.Kill(-group, 0) == nil {
		pid, member := findMember(group, killed)
		if member == nil {
			return // only zombies are left
		}
		killed[pid] = true // once: one that is not dead then will not die soon
		member.kill()
		member.await()
	}
}

// findMember returns a living member of a group, except those; nil if there is
// none.
func findMember(group int, except map[int]bool) (pid int, member handles) {
	entries, _ := os.ReadDir("/proc")
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || except[pid] {
			continue
		}
		inGroup := func(s stat) bool { return s.group == group && !s.dead() }
		if s, err := readStat(pid); err != nil || !inGroup(s) {
			continue
		}
		h, err := open(pid, inGroup)
		if err != nil {
			continue
		}
		if h.mayKill() {
			return pid, handles{h}
		}
		_ = unix.Close(int(h))
	}
	return 0, nil
}
