//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/poppobuilder/poppobuilder/internal/api"
	"github.com/poppobuilder/poppobuilder/internal/config"
	"github.com/poppobuilder/poppobuilder/pidfile"
)

// patience is how long a test waits for what must come. It is no promise: it
// only keeps a broken program from hanging the tests.
const patience = 30 * time.Second

// stubborn is a command that is as hard to get rid of as a shell script can
// be: it ignores TERM, and so do its child, and its grandchild in a session of
// its own. All of them hold "alive" open, so whoever reads that sees the end
// when the last of them is gone.
const stubborn = `trap "" TERM; exec 9>alive; sh -c 'sleep 1000 & wait' & setsid sh -c 'trap "" TERM; sleep 1000 & wait' & echo up >&9; wait`

// A testHome is a home with a daemon of the test's own.
type testHome struct {
	t     *testing.T
	dir   string // of the project
	paths config.Paths
	// The daemon uses cgroups where it can. Otherwise it does not, so that the
	// other means of keeping processes together are tested everywhere.
	cgroups bool

	program string // what is started; empty: the test binary
}

// newHome makes a home whose daemon has this config, and sees to it that no
// daemon outlives the test.
func newHome(t *testing.T, settings string) *testHome {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "pb")
	if err != nil {
		t.Fatal(err)
	}
	h := &testHome{t: t, dir: dir, paths: config.NewPaths(filepath.Join(dir, "home"))}
	t.Cleanup(func() {
		pidfile.Signal(h.paths.PIDFile, syscall.SIGKILL)
		if t.Failed() {
			log, _ := os.ReadFile(h.paths.DaemonLog)
			t.Logf("%s says:\n%s", h.paths.DaemonLog, log)
		}
		os.RemoveAll(dir)
	})
	if err := os.Mkdir(h.paths.Home, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(h.paths.Config, []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	return h
}

// run executes one command line of the program.
func (h *testHome) run(args ...string) (stdout string, exit int) {
	h.t.Helper()
	self := h.program
	if self == "" {
		var err error
		if self, err = os.Executable(); err != nil {
			h.t.Fatal(err)
		}
	}
	command := exec.Command(self, args...)
	command.Env = append(os.Environ(), programVariable+"=1", "POPPOBUILDER_HOME="+h.paths.Home)
	if !h.cgroups {
		command.Env = append(command.Env, noCgroupsVariable+"=1")
	}
	var problems bytes.Buffer
	command.Stderr = &problems
	out, err := command.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return string(out) + problems.String(), exit.ExitCode()
	} else if err != nil {
		h.t.Fatal(err)
	}
	return string(out), 0
}

// must executes a command line that has to succeed.
func (h *testHome) must(args ...string) string {
	h.t.Helper()
	out, exit := h.run(args...)
	if exit != 0 {
		h.t.Fatalf("%s: exit code %d: %s", strings.Join(args, " "), exit, out)
	}
	return out
}

func (h *testHome) status() api.Status {
	h.t.Helper()
	var s api.Status
	if err := json.Unmarshal([]byte(h.must("daemon", "status", "--json")), &s); err != nil {
		h.t.Fatal(err)
	}
	return s
}

// await asks for the status until it is as wanted.
func (h *testHome) await(what string, wanted func(api.Status) bool) api.Status {
	h.t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if s := h.status(); wanted(s) {
			return s
		}
	}
	h.t.Fatalf("waited in vain for: %s; status is %+v", what, h.status())
	panic("unreachable")
}

// startStubborn is [testHome.startScript] of [stubborn].
func (h *testHome) startStubborn() (alive *os.File) {
	h.t.Helper()
	return h.startScript(stubborn)
}

// startScript adds a project that runs a script, starts the daemon, and returns
// when the script has written "up" to "alive". What it returns ends when the
// last process of the script is gone that holds that open.
func (h *testHome) startScript(script string) (alive *os.File) {
	h.t.Helper()
	h.must("project", "add", h.dir, "--id", "stubborn", "--", "sh", "-c", script)
	fifo := filepath.Join(h.dir, "alive")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		h.t.Fatal(err)
	}
	h.must("daemon", "start")
	alive, err := os.OpenFile(fifo, os.O_RDONLY, 0) // waits for the command
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { alive.Close() })
	if _, err := io.ReadFull(alive, make([]byte, len("up\n"))); err != nil {
		h.t.Fatalf("wait for the command: %v", err)
	}
	return alive
}

// awaitEnd waits until nobody holds the other end of alive.
func awaitEnd(t *testing.T, alive *os.File) {
	t.Helper()
	alive.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.Copy(io.Discard, alive); err != nil {
		t.Fatalf("processes of the command are still alive: %v", err)
	}
}

// A watch is a process whose end can be awaited, though it is no child.
type watch struct{ pid, fd int }

func watchPID(t *testing.T, pid int) watch {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatalf("watch process %d: %v", pid, err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return watch{pid, fd}
}

func (w watch) awaitEnd(t *testing.T) {
	t.Helper()
	fds := []unix.PollFd{{Fd: int32(w.fd), Events: unix.POLLIN}}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if n, _ := unix.Poll(fds, int(time.Until(deadline).Milliseconds())); n == 1 {
			return
		}
	}
	t.Fatalf("process %d is still alive", w.pid)
}

func kill(t *testing.T, pid int, sig syscall.Signal) {
	t.Helper()
	if pid <= 1 {
		t.Fatalf("no process to signal: pid %d", pid)
	}
	if err := syscall.Kill(pid, sig); err != nil {
		t.Fatalf("signal %d: %v", pid, err)
	}
}

func TestKilledWorkerComesBackWithGrowingDelay(t *testing.T) {
	t.Parallel()
	h := newHome(t, `{"daemon":{"maxProcesses":2,"port":null}}`)
	h.must("daemon", "start")
	bystander := h.status().Workers[1].PID
	for i, bound := range []int64{1000, 2000, 4000} {
		up := h.await("worker 0 to be idle", func(s api.Status) bool { return s.Workers[0].State == api.WorkerIdle })
		if got := up.Workers[0].Restarts; got != i {
			t.Errorf("after %d kills the worker has %d restarts", i, got)
		}
		kill(t, up.Workers[0].PID, syscall.SIGKILL)
		down := h.await("worker 0 to be in backoff", func(s api.Status) bool { return s.Workers[0].State == api.WorkerBackoff })
		w := down.Workers[0]
		if w.PID != 0 || w.NextRetryMs == nil || *w.NextRetryMs > bound || w.LastExit != "signal SIGKILL" {
			t.Errorf("after kill %d: %+v, want no pid and at most %d ms", i+1, w, bound)
		}
	}
	log, err := os.ReadFile(h.paths.DaemonLog)
	if err != nil {
		t.Fatal(err)
	}
	for _, delay := range []string{"in=1s", "in=2s", "in=4s"} {
		if !bytes.Contains(log, []byte(delay)) {
			t.Errorf("the log does not say %s", delay)
		}
	}
	if got := h.status().Workers[1]; got.PID != bystander || got.Restarts != 0 {
		t.Errorf("the other worker was touched: %+v", got)
	}
	h.must("daemon", "stop")
}

func TestKilledMasterLeavesNothing(t *testing.T) {
	t.Parallel()
	h := newHome(t, `{"daemon":{"maxProcesses":2,"port":null}}`)
	alive := h.startStubborn()
	s := h.status()
	var workers []watch
	for _, w := range s.Workers {
		workers = append(workers, watchPID(t, w.PID))
	}
	master := watchPID(t, s.PID)
	kill(t, s.PID, syscall.SIGKILL)
	killed := time.Now()
	master.awaitEnd(t)
	for _, w := range workers {
		w.awaitEnd(t)
	}
	awaitEnd(t, alive)
	t.Logf("everything was gone %v after the master", time.Since(killed).Round(time.Millisecond))
	if _, exit := h.run("daemon", "status"); exit != 1 {
		t.Errorf("status of a killed daemon exits with %d, want 1", exit)
	}
	h.must("project", "disable", "stubborn")
	h.must("daemon", "start")
	if again := h.status(); again.PID == s.PID || len(again.Workers) != 2 {
		t.Errorf("the next start gave %+v", again)
	}
	h.must("daemon", "stop")
}

func TestKilledWorkerTakesItsRunAlong(t *testing.T) {
	t.Parallel()
	h := newHome(t, `{"daemon":{"maxProcesses":1,"port":null}}`)
	alive := h.startStubborn()
	kill(t, h.status().Workers[0].PID, syscall.SIGKILL)
	awaitEnd(t, alive)
	h.await("the run to be queued again", func(s api.Status) bool { return s.Queue.Queued == 1 })
	if out := h.must("project", "runs", "stubborn"); !strings.Contains(out, "interrupted") {
		t.Errorf("the run that was cut short is not listed as such:\n%s", out)
	}
	h.must("project", "disable", "stubborn")
	h.must("daemon", "stop")
}

func TestStopKillsWhatIgnoresTERM(t *testing.T) {
	t.Parallel()
	h := newHome(t, `{"daemon":{"shutdownTimeout":"300ms","port":null}}`)
	alive := h.startStubborn()
	h.must("daemon", "stop")
	awaitEnd(t, alive)
	if out, exit := h.run("daemon", "status"); exit != 3 {
		t.Errorf("status after stop: exit %d: %s", exit, out)
	}
}

func TestSecondTERMKillsAtOnce(t *testing.T) {
	t.Parallel()
	h := newHome(t, `{"daemon":{"shutdownTimeout":"1h","port":null}}`)
	alive := h.startStubborn()
	master := watchPID(t, h.status().PID)
	kill(t, master.pid, syscall.SIGTERM)
	h.await("the daemon to be stopping", func(s api.Status) bool { return s.State == api.StateStopping })
	kill(t, master.pid, syscall.SIGTERM)
	master.awaitEnd(t)
	awaitEnd(t, alive)
}

func TestStartsAtOnceGiveOneDaemon(t *testing.T) {
	t.Parallel()
	h := newHome(t, `{"daemon":{"port":null}}`)
	var group sync.WaitGroup
	outputs := make([]string, 5)
	for i := range outputs {
		group.Go(func() { outputs[i] = h.must("daemon", "start") })
	}
	group.Wait()
	started := slices.DeleteFunc(slices.Clone(outputs), func(s string) bool { return !strings.HasPrefix(s, "Daemon started") })
	if len(started) != 1 {
		t.Errorf("starts said %q, want one that started it", outputs)
	}
	h.must("daemon", "stop")
}

func TestReloadTouchesNoWorkerThatStays(t *testing.T) {
	t.Parallel()
	h := newHome(t, `{"daemon":{"maxProcesses":2,"port":null}}`)
	h.must("daemon", "start")
	pids := func() string {
		var pids []int
		for _, w := range h.status().Workers {
			pids = append(pids, w.PID)
		}
		return fmt.Sprint(pids)
	}
	before := pids()
	h.must("daemon", "reload")
	if got := pids(); got != before {
		t.Errorf("a reload that changes nothing made of workers %s: %s", before, got)
	}
	h.must("global-config", "set", "daemon.maxProcesses", "4", "--reload")
	h.await("four workers", func(s api.Status) bool { return len(s.Workers) == 4 && s.Workers[3].State == api.WorkerIdle })
	h.must("global-config", "set", "daemon.maxProcesses", "2", "--reload")
	h.await("two workers", func(s api.Status) bool { return len(s.Workers) == 2 })
	if got := pids(); got != before {
		t.Errorf("growing and shrinking made of workers %s: %s", before, got)
	}
	if err := os.WriteFile(h.paths.Config, []byte(`{"daemon":{"maxProcesses":0}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, exit := h.run("daemon", "reload"); exit != 6 || !strings.Contains(out, "maxProcesses") {
		t.Errorf("reload of an invalid file: exit %d: %s", exit, out)
	}
	kill(t, h.status().PID, syscall.SIGHUP)
	h.await("the signal's reload to be refused", func(s api.Status) bool { return s.Reload != nil && !s.Reload.OK })
	if got := pids(); got != before {
		t.Errorf("an invalid file made of workers %s: %s", before, got)
	}
	h.must("daemon", "stop")
}

func TestRestartOnAPortInUseStopsNothing(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, port, err := net.SplitHostPort(taken.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	h := newHome(t, `{"daemon":{"port":0}}`)
	h.must("daemon", "start")
	before := h.status().PID
	if out, exit := h.run("daemon", "restart", "--daemon.port="+port); exit != 1 || !strings.Contains(out, "nothing was restarted") {
		t.Errorf("restart on port %s: exit %d: %s", port, exit, out)
	}
	if got := h.status().PID; got != before {
		t.Errorf("the daemon was %d and is %d", before, got)
	}
	h.must("daemon", "stop")
}

// A start while the daemon stops waits, and then starts one.
func TestStartDuringStop(t *testing.T) {
	t.Parallel()
	h := newHome(t, `{"daemon":{"shutdownTimeout":"1s","port":null}}`)
	h.startStubborn()
	first := watchPID(t, h.status().PID)
	kill(t, first.pid, syscall.SIGTERM)
	h.await("the daemon to be stopping", func(s api.Status) bool { return s.State == api.StateStopping })
	if out := h.must("daemon", "start"); !strings.HasPrefix(out, "Daemon started") {
		t.Errorf("start during stop says %q", out)
	}
	first.awaitEnd(t)
	if got := h.status(); got.PID == first.pid || got.State != api.StateRunning {
		t.Errorf("after that: %+v", got)
	}
	h.must("daemon", "stop", "--force")
}

// A daemon that is started right after another one was killed waits until the
// runs of that one are gone: a project never runs twice at once.
func TestStartAfterKillWaitsForOldRuns(t *testing.T) {
	t.Parallel()
	h := newHome(t, `{"daemon":{"maxProcesses":1,"port":null,"shutdownTimeout":0},"defaults":{"retryAttempts":0}}`)
	alive := h.startStubborn()
	master := watchPID(t, h.status().PID)
	kill(t, master.pid, syscall.SIGKILL)
	master.awaitEnd(t)
	// The next run opens the same FIFO. Were the old one still there, the end
	// of the old run would not be seen before that of the new one.
	again := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, alive)
		again <- err
	}()
	h.must("daemon", "start")
	select {
	case err := <-again:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Error("the old run was still alive when the new one began")
	}
	h.must("daemon", "stop")
}

// What has left its group, its session and its environment when its worker is
// killed can only be of the worker that was killed: the others keep theirs.
func TestKilledWorkerTakesAlongWhatNobodyKnows(t *testing.T) {
	t.Parallel()
	h := newHome(t, `{"daemon":{"maxProcesses":2,"port":null}}`)
	alive := h.startScript(`setsid env -i sh -c 'trap "" TERM; exec 9>alive; echo up >&9; sleep 1000' & wait`)
	h.must("project", "disable", "stubborn") // or its next run would hold the other end
	s := h.status()
	for _, w := range s.Workers {
		if w.Run != "" {
			kill(t, w.PID, syscall.SIGKILL)
		}
	}
	awaitEnd(t, alive)
	h.await("the daemon as it was", func(again api.Status) bool {
		return again.Keeper.PID == s.Keeper.PID && again.Queue.Running == 0
	})
}

// Of a worker program of one's own nobody knows which orphans are a run's; but they
// do not outlive the daemon.
func TestStopKillsWhatNobodyKnows(t *testing.T) {
	t.Parallel()
	h := newHome(t, `{"daemon":{"maxProcesses":1,"port":null}}`)
	const orphan = `trap "" TERM; exec 9>alive; echo up >&9; exec sleep 1000`
	script := filepath.Join(h.dir, "worker.sh")
	fifo := filepath.Join(h.dir, "alive")
	if err := errors.Join(syscall.Mkfifo(fifo, 0o600),
		os.WriteFile(script, []byte("cd "+h.dir+"\n(setsid env -i PATH=\"$PATH\" sh -c '"+orphan+"' &)\n"+shellWorker), 0o600)); err != nil {
		t.Fatal(err)
	}
	h.must("global-config", "set", "daemon.worker.command", `["sh", "`+script+`"]`)
	h.must("daemon", "start")
	alive, err := os.OpenFile(fifo, os.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer alive.Close()
	if _, err := io.ReadFull(alive, make([]byte, len("up\n"))); err != nil {
		t.Fatal(err)
	}
	h.must("daemon", "stop")
	awaitEnd(t, alive)
}

// pauseVariable says how long TestPausedMaster pauses the daemon.
const pauseVariable = "PAUSE_TIME"

// A daemon that was stopped for a while goes on as before: it takes no worker
// for dead, and no run for over.
func TestPausedMaster(t *testing.T) {
	t.Parallel()
	pause := 4 * time.Second // far more than the timeout
	if text := os.Getenv(pauseVariable); text != "" {
		var err error
		if pause, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	h := newHome(t, `{"daemon":{"maxProcesses":2,"port":null,"worker":{"heartbeatTimeout":"1s"}}}`)
	h.startStubborn()
	before, run := h.status(), h.runs("running")[0]
	kill(t, before.PID, syscall.SIGSTOP)
	<-time.After(pause)
	kill(t, before.PID, syscall.SIGCONT)
	<-time.After(2 * time.Second) // the time in which it would notice
	after := h.status()
	for i, w := range after.Workers {
		if w.PID != before.Workers[i].PID || w.Restarts != 0 {
			t.Errorf("worker %d was process %d and is %+v", i, before.Workers[i].PID, w)
		}
	}
	if after.Keeper.PID != before.Keeper.PID {
		t.Errorf("the keeper was process %d and is %+v", before.Keeper.PID, after.Keeper)
	}
	if all := h.runs(""); len(all) != 1 || all[0].ID != run.ID || all[0].PID != run.PID || all[0].State != "running" {
		t.Errorf("of one run %+v became %+v", run, all)
	}
	h.must("daemon", "stop", "--force")
	h.awaitNothing(time.Now())
}

// When a killed worker is replaced, nothing of its run is alive any more.
func TestKilledWorkerIsReplacedAfterItsRunIsGone(t *testing.T) {
	t.Parallel()
	h := newHome(t, `{"daemon":{"maxProcesses":1,"port":null,"restart":{"initialDelay":0}}}`)
	alive := h.startStubborn()
	s := h.status()
	run := h.runs("running")[0].ID
	h.must("project", "disable", "stubborn") // or the next run would follow
	kill(t, s.Workers[0].PID, syscall.SIGKILL)
	awaitChild(t, s.PID, func(pid int) bool {
		arguments, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		return pid != s.Workers[0].PID && strings.Contains(string(arguments), "\x00worker\x00")
	})
	if left := h.carriers("POPPOBUILDER_RUN_ID=" + run); len(left) > 0 {
		t.Errorf("the next worker has started while there is still:\n%s", strings.Join(left, "\n"))
	}
	awaitEnd(t, alive)
	h.must("daemon", "stop")
	h.awaitNothing(time.Now())
}

// awaitChild waits for a child of a process that fits. It looks at what the
// kernel says, again and again, so that it sees the child soon.
func awaitChild(t *testing.T, parent int, fits func(pid int) bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); <-time.After(time.Millisecond) {
		lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", parent))
		for _, list := range lists {
			text, _ := os.ReadFile(list)
			for _, field := range strings.Fields(string(text)) {
				if pid, err := strconv.Atoi(field); err == nil && fits(pid) {
					return
				}
			}
		}
	}
	t.Fatalf("no such child of process %d came", parent)
}
