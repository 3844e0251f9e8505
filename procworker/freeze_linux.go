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

func (h handle) isDead() bool { return isReadable(uintptr(h)) }

func (h handle) stop() error { return unix.PidfdSendSignal(int(h), unix.SIGSTOP, nil, 0) }

// handles are those of some processes, parents first.
type handles []handle

// kill sends SIGKILL to all. Children go first: the kernel would wake a stopped
// group that is left without a parent.
func (hs handles) kill() {
	for _, h := range slices.Backward(hs) {
		_ = unix.PidfdSendSignal(int(h), unix.SIGKILL, nil, 0)
	}
}

func (hs handles) close() {
	for _, h := range hs {
		_ = unix.Close(int(h))
	}
}

// deathTimeout is how long the killed may take. One that waits for a disk or for
// who traces it takes longer.
const deathTimeout = 10 * time.Second

// await returns when all are dead that this process may kill, or after
// deathTimeout. All must have been killed before: one may be traced by another.
func (hs handles) await() {
	var alive []unix.PollFd
	for _, h := range hs {
		if h.mayKill() {
			alive = append(alive, unix.PollFd{Fd: int32(h), Events: unix.POLLIN})
		}
	}
	for deadline := time.Now().Add(deathTimeout); len(alive) > 0; {
		n, err := unix.Poll(alive, int(max(0, time.Until(deadline).Milliseconds())))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n == 0 {
			return
		}
		alive = slices.DeleteFunc(alive, func(p unix.PollFd) bool { return p.Revents != 0 })
	}
}

const (
	// freezePatience bounds how long a tree may take to stop, in freezeLooks looks at
	// least. What waits for a disk, or for the program of a child of vfork(2), does
	// not stop.
	freezePatience = 200 * time.Millisecond
	freezeLooks    = 10
)

// A freezer stops processes and keeps handles of them.
type freezer struct {
	below  handles
	seen   map[int]func() error // stops it
	moving bool                 // somebody was new, or still running, at the last look
}

// freeze stops a process and all that hangs below it, and returns handles of
// the latter. What is not stopped can start more between the look and the kill;
// that would then hang below nobody.
func freeze(pid int, stop func() error, deadline time.Time) handles {
	f := freezer{seen: make(map[int]func() error)}
	for looks := 1; ; looks++ {
		f.moving = false
		f.halt(pid, stop)
		f.look(pid)
		if !f.moving || looks >= freezeLooks && time.Now().After(deadline) {
			return f.below
		}
		time.Sleep(time.Millisecond) // nothing tells when they have stopped
	}
}

// halt stops a process that moves: once more if somebody has continued it.
func (f *freezer) halt(pid int, stop func() error) {
	f.moving = moves(pid) && stop() == nil || f.moving
}

func (f *freezer) look(pid int) {
	pids, ok := children(pid)
	f.moving = f.moving || !ok
	for _, child := range pids {
		if f.seen[child] == nil {
			h, err := open(child, func(s stat) bool { return s.parent == pid })
			if err != nil {
				f.moving = f.moving || !isGone(err)
				continue
			}
			f.seen[child] = h.stop
			f.below = append(f.below, h)
			f.moving = true // it may have ended, and its children be a child's
		}
		f.halt(child, f.seen[child])
		f.look(child)
	}
}

// moves reports whether a process can start others: whether one of its threads
// is not stopped.
func moves(pid int) bool {
	s, err := readStat(pid)
	if err != nil || s.dead() {
		return err != nil && !isGone(err)
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
// may kill, or after deathTimeout. Its leader has been reaped. Nearly always the
// first look tells.
func awaitGroup(group int) {
	deadline := time.Now().Add(deathTimeout)
	for syscall.Kill(-group, 0) == nil && time.Now().Before(deadline) {
		members, ok := living(group)
		switch {
		case len(members) > 0:
			members.kill()
			members.await()
			members.close()
		case ok:
			return // only zombies are left
		default:
			time.Sleep(time.Millisecond) // nothing tells when there are descriptors again
		}
	}
}

// living returns the members of a group without a leader that are alive and that
// this process may kill. It is not ok if there may be others.
func living(group int) (members handles, ok bool) {
	entries, err := os.ReadDir("/proc")
	ok = err == nil
	inGroup := func(s stat) bool { return s.group == group && !s.dead() }
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		s, err := readStat(pid)
		if err == nil && inGroup(s) {
			var h handle
			if h, err = open(pid, inGroup); err == nil && h.mayKill() {
				members = append(members, h)
			} else if err == nil {
				_ = unix.Close(int(h))
			}
		}
		ok = ok && (err == nil || isGone(err))
	}
	// As long as the group lives, nobody else gets its number. If somebody has, these
	// are of another group.
	if !errors.Is(syscall.Kill(group, 0), syscall.ESRCH) {
		members.close()
		return nil, true
	}
	return members, ok
}
