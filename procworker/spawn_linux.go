package procworker

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	syscallCONT = syscall.SIGCONT
	errTextBusy = syscall.ETXTBSY
)

func sysHandle(fd uintptr) int { return int(fd) }

func signalName(sig syscall.Signal) string { return unix.SignalName(sig) }

// A forkRequest asks the spawner for one start.
type forkRequest struct {
	ctx   context.Context
	l     *launch
	attr  *syscall.ProcAttr
	reply chan forkReply
}

type forkReply struct {
	pid int
	err error
}

// spawner returns where to ask for a start. The kernel ties PDEATHSIG to the
// thread that forked and not to its process (prctl(2)): were that thread to
// end, as Go's threads do, the child would be killed. So all starts of this
// process happen on one thread, which stays for ever.
var spawner = sync.OnceValue(newSpawner)

// maskingSpawner is where to ask for one with a umask of its own, because the
// thread does not follow the process's directory any more after that.
var maskingSpawner = sync.OnceValue(newSpawner)

func newSpawner() chan<- forkRequest {
	requests := make(chan forkRequest)
	go serveForks(requests)
	return requests
}

// forkers are the threads that start children; for ever.
var forkers sync.Map

// started are the children that are not reaped yet.
var started sync.Map

func serveForks(requests <-chan forkRequest) {
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() {
		// With the children of the main thread are the orphans (orphansFile).
		// Were ours among them, each end of one would look at all others.
		moved := make(chan struct{})
		go func() {
			runtime.LockOSThread()
			close(moved)
			serveForks(requests)
		}()
		<-moved
		runtime.UnlockOSThread()
		return
	}
	forkers.Store(unix.Gettid(), nil)
	for r := range requests {
		if err := r.ctx.Err(); err != nil { // since it was sent
			r.reply <- forkReply{err: err}
			continue
		}
		pid, err := r.l.limits.ForkExec(r.l.path, r.l.argv, r.attr)
		r.reply <- forkReply{pid, err}
	}
}

// A process is a started child.
type process struct {
	pid    int
	cookie string
	uid    uint32   // its user's
	cgroup *Cgroup  // nil: none
	pidfd  *os.File // readable once the child is dead; nil before Linux 5.4

	weak bool // for the tests that show what killing more than the child is good for

	mu     sync.Mutex // guards reaped; held while the child is signalled
	reaped bool
}

// start starts a child, unless ctx ends before it is its turn.
func start(ctx context.Context, l *launch) (*process, error) {
	pidfd := -1
	attr := &syscall.ProcAttr{
		Dir: l.dir,
		Env: l.env,
		Sys: &syscall.SysProcAttr{Setpgid: true, Pdeathsig: l.deathSignal, PidFD: &pidfd},
	}
	uid := uint32(os.Geteuid())
	if u := l.user; u != nil {
		attr.Sys.Credential = &syscall.Credential{Uid: u.UID, Gid: u.GID, Groups: u.Groups}
		uid = u.UID
	}
	if l.cgroup != nil {
		attr.Sys.UseCgroupFD, attr.Sys.CgroupFD = true, l.cgroup.FD()
	}
	for _, f := range l.files {
		attr.Files = append(attr.Files, f.Fd())
	}
	turn := spawner
	if l.limits.Umask != 0 {
		wd, err := os.Getwd()
		if err != nil {
			return nil, err
		}
		if !filepath.IsAbs(attr.Dir) {
			attr.Dir = filepath.Join(wd, attr.Dir)
		}
		turn = maskingSpawner
	}
	r := forkRequest{ctx: ctx, l: l, attr: attr, reply: make(chan forkReply, 1)}
	select {
	case turn() <- r:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	reply := <-r.reply
	runtime.KeepAlive(l.files)
	if reply.err != nil {
		if errors.Is(reply.err, ctx.Err()) {
			return nil, reply.err
		}
		var limit *LimitsError
		if errors.As(reply.err, &limit) {
			return nil, reply.err
		}
		return nil, &os.PathError{Op: "fork/exec", Path: l.path, Err: reply.err}
	}
	started.Store(reply.pid, nil)
	p := &process{pid: reply.pid, cookie: l.cookie, uid: uid, cgroup: l.cgroup, weak: l.weak}
	if pidfd >= 0 {
		// Non-blocking, so that the runtime's poller waits for it: a child
		// costs no thread.
		_ = syscall.SetNonblock(pidfd, true)
		p.pidfd = os.NewFile(uintptr(pidfd), "pidfd")
	}
	return p, nil
}

// wait returns when the child is dead. It does not reap it, so that its
// number and its group's stay taken.
func (p *process) wait() {
	if p.pidfd != nil {
		raw, err := p.pidfd.SyscallConn()
		if err == nil {
			err = raw.Read(isReadable)
		}
		if err == nil {
			return
		}
	}
	p.waitid()
}

// waitid returns when the child can be reaped: once it is dead, and nobody traces
// it any more.
func (p *process) waitid() {
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PID, p.pid, &info, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) { // ECHILD: nothing is left to wait for
			return
		}
	}
}

// isReadable reports whether a pidfd's process is dead. Waitid(2) would not tell
// while somebody traces it.
func isReadable(pidfd uintptr) bool {
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, 0)
		if !errors.Is(err, unix.EINTR) { // to say no would be to wait for another event
			return n > 0 || err != nil
		}
	}
}

func (p *process) signal(sig os.Signal) error {
	number, ok := sig.(syscall.Signal)
	if !ok {
		return errors.New("not a signal of this system: " + sig.String())
	}
	return p.send(p.pid, number)
}

// signalGroup signals the child's group, and the child itself if it has gone to
// another one (setpgid(2)).
func (p *process) signalGroup(sig syscall.Signal) {
	_ = p.send(-p.pid, sig)
	if group, err := syscall.Getpgid(p.pid); err == nil && group != p.pid {
		_ = p.send(p.pid, sig)
	}
}

func (p *process) send(target int, sig syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reaped {
		return os.ErrProcessDone
	}
	return os.NewSyscallError("kill", syscall.Kill(target, sig))
}

// killTree kills the group, and the descendants that have left it but still
// hang below the child.
func (p *process) killTree() {
	if p.weak {
		_ = p.send(p.pid, syscall.SIGKILL)
		return
	}
	if p.cgroup != nil && p.cgroup.Kill() == nil {
		_ = p.send(p.pid, syscall.SIGKILL) // its main thread may have ended
		return
	}
	stop := func() error { return p.send(p.pid, syscall.SIGSTOP) }
	below := freeze(p.pid, stop, time.Now().Add(freezePatience))
	below.kill()
	p.signalGroup(syscall.SIGKILL)
	_ = p.send(p.pid, syscall.SIGKILL)
	below.await()
	below.close()
}

// clear kills all that the dead child has left, reaps it, and tells how it
// ended.
func (p *process) clear() ending {
	if p.weak {
		return p.reap()
	}
	p.signalGroup(syscall.SIGKILL)
	oom := p.clearCgroup()
	if isSubreaper() {
		hunt(p.pid, p.cookie)
	}
	end := p.reap()
	end.oomKilled = oom
	awaitGroup(p.pid)
	return end
}

// clearCgroup kills and removes the child's cgroup. Should that fail, the next
// [OpenCgroups] does it.
func (p *process) clearCgroup() (oomKilled bool) {
	if p.cgroup == nil {
		return false
	}
	oomKilled = p.cgroup.OOMKills() > 0
	_ = p.cgroup.Close()
	return oomKilled
}

func (p *process) reap() ending {
	p.waitid()
	p.mu.Lock()
	defer p.mu.Unlock()
	started.Delete(p.pid) // while the number is still its own
	var status syscall.WaitStatus
	var usage syscall.Rusage
	var err error
	for {
		if _, err = syscall.Wait4(p.pid, &status, 0, &usage); !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	p.reaped = true
	// Not before: while it is open, a reaper knows that the child is ours.
	if p.pidfd != nil {
		_ = p.pidfd.Close()
	}
	if err != nil {
		return ending{pid: p.pid, code: -1} // somebody else has waited for it
	}
	end := endingOf(p.pid, status)
	end.user = time.Duration(usage.Utime.Nano())
	end.system = time.Duration(usage.Stime.Nano())
	end.maxRSS = int64(usage.Maxrss) << 10
	return end
}

func endingOf(pid int, status syscall.WaitStatus) ending {
	end := ending{pid: pid, code: status.ExitStatus()}
	if status.Signaled() {
		end.signal = status.Signal()
		end.coreDump = status.CoreDump()
	}
	return end
}
