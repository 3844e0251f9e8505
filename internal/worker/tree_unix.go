//go:build unix && !linux

package worker

import (
	"errors"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/poppobuilder/poppobuilder/procworker"
	"github.com/poppobuilder/poppobuilder/procworker/ipc"
)

// pollGroup is how often a group whose leader is gone is looked at. Nothing
// here tells when its last process ends.
const pollGroup = 50 * time.Millisecond

// becomeReaper does nothing: there is no such thing here.
func becomeReaper() error { return nil }

// A starter is of no use here.
type starter struct{}

func newStarter() starter { return starter{} }

func (starter) close() {}

// A tree is the process group of one run. What leaves the group escapes.
type tree struct {
	leader        int // also the number of its process group
	killLeftovers bool

	ended chan syscall.WaitStatus // gets the leader's status
	empty chan usage              // gets the leader's usage when nobody is left

	mu         sync.Mutex // guards what follows
	terminated bool       // TERM was sent
}

// startTree starts the command of a run.
func startTree(_ starter, path string, spec ipc.RunSpec, env []string, out *output, _ *procworker.Cgroup) (*tree, error) {
	pid, err := limits(spec).ForkExec(path, spec.Command, &syscall.ProcAttr{
		Dir:   spec.Dir,
		Env:   env,
		Files: out.files(),
		Sys:   &syscall.SysProcAttr{Setpgid: true},
	})
	if err != nil {
		return nil, err
	}
	t := &tree{
		leader:        pid,
		killLeftovers: killsLeftovers(spec),
		ended:         make(chan syscall.WaitStatus, 1),
		empty:         make(chan usage, 1),
	}
	go t.wait()
	return t, nil
}

// terminate asks every process to stop. A stopped one gets TERM only after
// CONT.
func (t *tree) terminate() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.terminated {
		return
	}
	t.terminated = true
	_ = unix.Kill(-t.leader, unix.SIGTERM)
	_ = unix.Kill(-t.leader, unix.SIGCONT)
}

// kill kills every process.
func (t *tree) kill() { _ = unix.Kill(-t.leader, unix.SIGKILL) }

// wait waits for the leader and then for the rest of its group.
func (t *tree) wait() {
	var status unix.WaitStatus
	var ru unix.Rusage
	_, err := unix.Wait4(t.leader, &status, 0, &ru)
	for errors.Is(err, unix.EINTR) {
		_, err = unix.Wait4(t.leader, &status, 0, &ru)
	}
	t.ended <- syscall.WaitStatus(status)
	if t.killLeftovers {
		t.terminate()
	}
	for !errors.Is(unix.Kill(-t.leader, 0), unix.ESRCH) {
		time.Sleep(pollGroup)
	}
	var total usage
	total.add(ru)
	t.empty <- total
}
