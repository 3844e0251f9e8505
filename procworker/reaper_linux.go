package procworker

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Subreaper makes this process the parent of all its orphaned descendants
// (PR_SET_CHILD_SUBREAPER, prctl(2)), so that [Worker.Serve] finds and kills
// those that have left the child's group, session and parents. Call it once,
// before the first child is started. Release undoes it, and waits a last time
// for the orphans that are dead.
//
// Somebody has to wait for the orphans that end while nobody looks for them.
// A goroutine does, and wakes up only when a child of this process has died.
// It never takes an exit status from os/exec and os.StartProcess, which hold
// a pidfd of each child that they are going to wait for: a child for which
// nobody holds one is an orphan. So code that starts processes by
// syscall.ForkExec alone must ask for one too (SysProcAttr.PidFD).
//
// It needs Linux 5.4 with /proc mounted; the error says what is missing.
func Subreaper() (release func(), err error) {
	self, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return nil, fmt.Errorf("become subreaper: %w; pidfds need Linux 5.4", os.NewSyscallError("pidfd_open", err))
	}
	_ = unix.Close(self)
	if _, err := os.ReadFile(orphansFile()); err != nil {
		return nil, fmt.Errorf("become subreaper: %w; it needs /proc", err)
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("become subreaper: %w", os.NewSyscallError("prctl", err))
	}
	r := &reaper{deaths: make(chan os.Signal, 1), quit: make(chan struct{}), done: make(chan struct{})}
	signal.Notify(r.deaths, syscall.SIGCHLD)
	go r.serve()
	return sync.OnceFunc(r.release), nil
}

const (
	// reaperPause is how long the reaper rests after it has looked: orphans may
	// stay zombies for that long, but a storm of deaths does not keep it busy.
	reaperPause = 100 * time.Millisecond
	// reaperLooks is how often it looks for one whose pidfd is held: until who
	// kills it has given it up.
	reaperLooks = int(2 * deathTimeout / reaperPause)
)

// A reaper waits for orphans.
type reaper struct {
	deaths     chan os.Signal
	quit, done chan struct{}
}

func (r *reaper) serve() {
	defer close(r.done)
	for looks := 0; ; looks = max(0, looks-1) {
		if looks == 0 {
			select {
			case <-r.quit:
				return
			case <-r.deaths:
				looks = reaperLooks
			}
		}
		if reapOrphans() {
			looks = 0
		}
		select {
		case <-r.quit:
			return
		case <-time.After(reaperPause):
		}
	}
}

func (r *reaper) release() {
	signal.Stop(r.deaths)
	close(r.quit)
	<-r.done
	reapOrphans()
	_ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
}

// KillOrphans kills the orphans that this process has got as a [Subreaper],
// with all that hangs below them, and returns when none is left that it may
// kill. Who has become an orphan belongs to nobody, such as a process that had
// cleared its environment when the child above it was killed. It is for the end of
// a program, when no Worker is served any more; and for a program all of whose
// children are subreapers themselves, whenever one of them has ended: only from
// below a dead one can an orphan come.
func KillOrphans() {
	ticket := orphanKills.asked.Add(1)
	orphanKills.mu.Lock() // or each would leave to the other what that holds
	defer orphanKills.mu.Unlock()
	if orphanKills.done >= ticket {
		return // somebody has begun and ended since
	}
	ticket = orphanKills.asked.Load()
	defer func() { orphanKills.done = ticket }()
	for s := newSweep(); s.goesOn(); {
		pids, ok := strays()
		s.rest = !ok
		for _, pid := range pids {
			s.take(pid, os.Getpid())
		}
		s.kill()
	}
}

// orphanKills lets those who call [KillOrphans] while it goes on share the next time.
var orphanKills struct {
	asked atomic.Uint64
	mu    sync.Mutex
	done  uint64 // so many have got what they asked for
}

// strays returns the orphans that nobody in this process holds.
func strays() (pids []int, ok bool) {
	// While a child of our own is being started it is in the list a moment before
	// its pidfd is held.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	pids, ok = orphans()
	held, told := heldPids()
	if !told {
		return nil, false
	}
	return slices.DeleteFunc(pids, func(pid int) bool { return held[pid] }), ok
}

// reapOrphans waits for the dead orphans. It reports whether it has waited for all.
func reapOrphans() bool {
	var dead []int
	pids, all := orphans()
	for _, pid := range pids {
		if isZombie(pid) {
			dead = append(dead, pid)
		}
	}
	if len(dead) == 0 {
		return all
	}
	// After the look at the dead: whoever will wait for one of them has held
	// its pidfd since before it could die.
	held, ok := heldPids()
	for _, pid := range dead {
		if ok && !held[pid] {
			_ = reap(pid)
		} else {
			all = false // who holds it may just have killed it
		}
	}
	return all
}

func isZombie(pid int) bool {
	var info unix.Siginfo
	err := unix.Waitid(unix.P_PID, pid, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	return err == nil && info.Signo != 0
}

// heldPids returns the processes for which this process holds a pidfd; not if
// it cannot tell, for want of descriptors.
func heldPids() (held map[int]bool, ok bool) {
	held = make(map[int]bool)
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil, false
	}
	for _, entry := range entries {
		target, err := os.Readlink("/proc/self/fd/" + entry.Name())
		if err != nil || !strings.Contains(target, "pidfd") {
			continue // closed meanwhile, or something else
		}
		info, err := os.ReadFile("/proc/self/fdinfo/" + entry.Name())
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, false
		}
		for line := range strings.Lines(string(info)) {
			if value, ok := strings.CutPrefix(line, "Pid:"); ok {
				if pid, err := strconv.Atoi(strings.TrimSpace(value)); err == nil {
					held[pid] = true
				}
			}
		}
	}
	return held, true
}
