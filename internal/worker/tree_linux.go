package worker

import (
	"errors"
	"os"
	"runtime"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/poppobuilder/poppobuilder/procworker"
	"github.com/poppobuilder/poppobuilder/procworker/ipc"
)

// becomeReaper makes this process the parent of each descendant whose own
// parent ends. See PR_SET_CHILD_SUBREAPER in prctl(2).
func becomeReaper() error {
	return os.NewSyscallError("prctl", unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
}

// A tree is the processes of one run: all descendants of this process. It
// ends when this process has no child any more. Who has no child, and gets
// the orphans, has no descendant either.
type tree struct {
	leader        int // also the number of its process group
	thread        int // whose child it is
	killLeftovers bool

	cgroup *procworker.Cgroup // nil: none

	ended chan syscall.WaitStatus // gets the leader's status
	empty chan usage              // gets the total when nobody is left

	mu         sync.Mutex // guards what follows, and keeps a child from being reaped between being found and being signalled
	reaped     bool       // the leader was, so its number may be somebody else's
	terminated bool       // TERM was sent
	killing    bool       // whoever turns up is killed
}

// A starter runs functions on a thread of its own until it is closed: the
// kernel kills a command when the thread that started it ends. The worker's
// goroutine is not tied to that thread, because each time it wakes up would
// cost two switches between threads.
type starter chan func()

func newStarter() starter {
	s := make(starter)
	go func() {
		runtime.LockOSThread()
		for f := range s {
			f()
		}
	}()
	return s
}

func (s starter) close() { close(s) }

// startTree starts the command of a run.
func startTree(s starter, path string, spec ipc.RunSpec, env []string, out *output, cgroup *procworker.Cgroup) (*tree, error) {
	sys := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if cgroup != nil {
		sys.UseCgroupFD, sys.CgroupFD = true, cgroup.FD()
	}
	t := &tree{
		cgroup:        cgroup,
		killLeftovers: killsLeftovers(spec),
		ended:         make(chan syscall.WaitStatus, 1),
		empty:         make(chan usage, 1),
	}
	started := make(chan error)
	s <- func() {
		var err error
		t.thread = unix.Gettid()
		t.leader, err = limits(spec).ForkExec(path, spec.Command, &syscall.ProcAttr{
			Dir:   spec.Dir,
			Env:   env,
			Files: out.files(),
			Sys:   sys,
		})
		started <- err
	}
	if err := <-started; err != nil {
		return nil, err
	}
	go t.wait()
	return t, nil
}

// terminate asks every process to stop. A stopped one gets TERM only after
// CONT.
func (t *tree) terminate() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sendTerm()
}

func (t *tree) sendTerm() {
	if t.terminated {
		return
	}
	t.terminated = true
	others := descendants(t.thread)
	for _, sig := range []syscall.Signal{unix.SIGTERM, unix.SIGCONT} {
		if !t.reaped {
			_ = unix.Kill(-t.leader, sig)
		}
		for _, pid := range others {
			if pgid, err := unix.Getpgid(pid); err == nil && (t.reaped || pgid != t.leader) {
				_ = unix.Kill(pid, sig)
			}
		}
	}
}

// kill kills every process.
func (t *tree) kill() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.killing = true
	t.sendKill()
}

// sendKill kills the group and the children. Their children become ours when
// they die, and are killed when those have been reaped, level by level. So
// the number of one that is signalled cannot have become a stranger's.
func (t *tree) sendKill() {
	if t.cgroup != nil {
		_ = t.cgroup.Kill()
	}
	if !t.reaped {
		_ = unix.Kill(-t.leader, unix.SIGKILL)
	}
	for _, pid := range ownChildren(t.thread) {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
}

// wait waits for the processes until nobody is left.
func (t *tree) wait() {
	var total usage
	for {
		pid, err := nextDead()
		if errors.Is(err, unix.ECHILD) {
			t.empty <- total
			return
		}
		if err == nil {
			t.reap(pid, &total)
		}
	}
}

// reap takes the status of a child that is dead.
func (t *tree) reap(pid int, total *usage) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if pid == t.leader && t.killLeftovers {
		// While the leader is a zombie, the group's number is its own.
		t.sendTerm()
	}
	var status unix.WaitStatus
	var ru unix.Rusage
	if _, err := unix.Wait4(pid, &status, unix.WALL, &ru); err != nil {
		return
	}
	total.add(ru)
	if pid == t.leader {
		t.reaped = true
		t.ended <- syscall.WaitStatus(status)
	}
	if t.killing {
		t.sendKill()
	}
}

// nextDead waits until a child is dead, and leaves it a zombie.
func nextDead() (pid int, err error) {
	var info unix.Siginfo
	for {
		err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOWAIT|unix.WALL, nil)
		switch {
		case err == nil:
			return int((*childInfo)(unsafe.Pointer(&info)).union.pid), nil
		case !errors.Is(err, unix.EINTR):
			return 0, err
		}
	}
}

// childInfo is the part of siginfo_t that waitid(2) fills and x/sys/unix does
// not name. The union in it is aligned as a pointer.
type childInfo struct {
	_     [3]int32
	union struct {
		_   [0]uintptr
		pid int32
	}
}
