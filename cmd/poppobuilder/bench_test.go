//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/poppobuilder/poppobuilder/internal/api"
	"github.com/poppobuilder/poppobuilder/internal/config"
	"github.com/poppobuilder/poppobuilder/procworker"
	"github.com/poppobuilder/poppobuilder/procworker/ipc"
	"github.com/poppobuilder/poppobuilder/supervisor"
)

// build builds the program as users have it: the test binary is larger, may have
// the race detector, and starts more slowly.
func build(t testing.TB) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "poppobuilder")
	if out, err := exec.Command("go", "build", "-race=false", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return program
}

// measure runs f and returns how long it took.
func measure(b *testing.B, f func() error) time.Duration {
	b.Helper()
	start := time.Now()
	if err := f(); err != nil {
		b.Fatal(err)
	}
	return time.Since(start)
}

// startDaemon starts a daemon of the benchmark's own.
func startDaemon(b *testing.B, program, settings string) (paths config.Paths, environ []string) {
	b.Helper()
	home, err := os.MkdirTemp("/tmp", "pb")
	if err != nil {
		b.Fatal(err)
	}
	paths = config.NewPaths(home)
	if err := os.WriteFile(paths.Config, []byte(settings), 0o600); err != nil {
		b.Fatal(err)
	}
	environ = append(os.Environ(), config.HomeVariable+"="+home)
	daemon := func(command string) error {
		c := exec.Command(program, "daemon", command)
		c.Env = environ
		out, err := c.CombinedOutput()
		if err != nil {
			return fmt.Errorf("daemon %s: %w: %s", command, err, out)
		}
		return nil
	}
	if err := daemon("start"); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := daemon("stop"); err != nil {
			b.Error(err)
		}
		os.RemoveAll(home)
	})
	return paths, environ
}

// BenchmarkStatus compares "daemon status --json" with "version", the least
// that a command can do. Target: at most 1.5 times as long.
func BenchmarkStatus(b *testing.B) {
	program := build(b)
	_, environ := startDaemon(b, program, `{"daemon":{"port":null}}`)
	command := func(args ...string) func() error {
		return func() error {
			c := exec.Command(program, args...)
			c.Env = environ
			return c.Run()
		}
	}
	var floor, ours time.Duration
	for b.Loop() {
		floor += measure(b, command("version"))
		ours += measure(b, command("daemon", "status", "--json"))
	}
	b.ReportMetric(float64(floor.Microseconds())/float64(b.N), "version-us")
	b.ReportMetric(float64(ours.Microseconds())/float64(b.N), "status-us")
	b.ReportMetric(float64(ours)/float64(floor), "ratio")
}

// bareReady starts the built-in worker with nothing but fork and exec, and
// waits for its first line.
func bareReady(b *testing.B, program string) func() error {
	return func() error {
		ours, child, err := ipc.Pair()
		if err != nil {
			return err
		}
		defer ours.Close()
		c := exec.Command(program, "worker")
		c.Env = append(os.Environ(), ipc.EnvFD+"=3")
		c.ExtraFiles = []*os.File{child}
		err = c.Start()
		child.Close()
		if err != nil {
			return err
		}
		_, err = bufio.NewReader(ours).ReadString('\n')
		b.StopTimer()
		defer b.StartTimer()
		return errors.Join(err, c.Process.Kill(), ignoreExit(c.Wait()))
	}
}

func ignoreExit(err error) error {
	if _, ok := errors.AsType[*exec.ExitError](err); ok {
		return nil
	}
	return err
}

// readyWorker is a worker of program that tells when it is ready.
func readyWorker(program string) *procworker.Worker {
	return &procworker.Worker{Command: []string{program, "worker"}, IPC: true, Stop: procworker.Stop{Grace: -1, MessageTimeout: -1}}
}

// BenchmarkWorkerReady compares the time from start to ready of a built-in
// worker with bare fork and exec of the same program to its first line.
// Target: at most 1.5 times as long.
func BenchmarkWorkerReady(b *testing.B) {
	program := build(b)
	bare := bareReady(b, program)
	var floor, ours time.Duration
	for b.Loop() {
		floor += measure(b, bare)
		w := readyWorker(program)
		ctx, cancel := context.WithCancel(b.Context())
		ready := make(chan struct{})
		ended := make(chan error, 1)
		start := time.Now()
		go func() { ended <- w.ServeReady(ctx, func() { close(ready) }) }()
		<-ready
		ours += time.Since(start)
		cancel()
		<-ended
	}
	b.ReportMetric(float64(floor.Microseconds())/float64(b.N), "bare-us")
	b.ReportMetric(float64(ours.Microseconds())/float64(b.N), "ready-us")
	b.ReportMetric(float64(ours)/float64(floor), "ratio")
}

// BenchmarkRestart compares the time from the death of a worker until the next
// one is ready, without delay, with bare fork and exec. Target: at most 1.5
// times as long.
func BenchmarkRestart(b *testing.B) {
	program := build(b)
	bare := bareReady(b, program)
	w := readyWorker(program)
	r := supervisor.NewRestarter(w, supervisor.Options{Backoff: supervisor.Backoff{InitialDelay: -1}})
	events := r.Subscribe(64)
	defer events.Close()
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Serve(ctx) }()
	awaitReady := func() {
		for e := range events.Events() {
			if e.Kind == supervisor.EventReady {
				return
			}
		}
	}
	awaitReady()
	var floor, ours time.Duration
	for b.Loop() {
		floor += measure(b, bare)
		start := time.Now()
		if err := syscall.Kill(w.Snapshot().PID, syscall.SIGKILL); err != nil {
			b.Fatal(err)
		}
		awaitReady()
		ours += time.Since(start)
	}
	cancel()
	<-ended
	b.ReportMetric(float64(floor.Microseconds())/float64(b.N), "bare-us")
	b.ReportMetric(float64(ours.Microseconds())/float64(b.N), "restart-us")
	b.ReportMetric(float64(ours)/float64(floor), "ratio")
}

// BenchmarkIdle measures a daemon with 10 idle workers: resident memory, and
// the CPU time of all of them and the keeper over 20 seconds. Targets: 20 MiB for the master,
// 10 MiB for a worker, 10 ms.
func BenchmarkIdle(b *testing.B) {
	const seconds = 20
	program := build(b)
	paths, _ := startDaemon(b, program, `{"daemon":{"maxProcesses":10}}`)
	status, err := api.NewClient(paths.Socket).Status(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	pids := []int{status.PID}
	for _, w := range status.Workers {
		pids = append(pids, w.PID)
	}
	keeper := status.Keeper.PID
	for b.Loop() {
		before := cpuTime(b, append(pids, keeper))
		<-time.After(seconds * time.Second)
		b.ReportMetric(float64((cpuTime(b, append(pids, keeper))-before).Microseconds())/1000, "cpu-ms/20s")
	}
	const mib = 1 << 20
	b.ReportMetric(float64(residentBytes(b, pids[0]))/mib, "master-MiB")
	b.ReportMetric(float64(residentBytes(b, keeper))/mib, "keeper-MiB")
	var most int64
	for _, pid := range pids[1:] {
		most = max(most, residentBytes(b, pid))
	}
	b.ReportMetric(float64(most)/mib, "worker-MiB")
	b.ReportMetric(0, "ns/op")
}

// cpuTime adds up what the processes have used: the first number of
// /proc/PID/schedstat, in nanoseconds, of each of their threads.
func cpuTime(b *testing.B, pids []int) time.Duration {
	b.Helper()
	var total time.Duration
	for _, pid := range pids {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
		if err != nil || len(threads) == 0 {
			b.Fatalf("read the CPU time of process %d: %v", pid, err)
		}
		for _, thread := range threads {
			text, err := os.ReadFile(thread)
			if err != nil {
				continue // it has ended
			}
			ns, err := strconv.ParseInt(strings.Fields(string(text))[0], 10, 64)
			if err != nil {
				b.Fatal(err)
			}
			total += time.Duration(ns)
		}
	}
	return total
}

// residentBytes reads a process's VmRSS.
func residentBytes(b *testing.B, pid int) int64 {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 64)
			if err != nil {
				b.Fatal(err)
			}
			return kb << 10
		}
	}
	b.Fatalf("process %d has no VmRSS", pid)
	return 0
}
