package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/poppobuilder/poppobuilder/procworker"
	"github.com/poppobuilder/poppobuilder/supervisor"
)

// many is how many children a benchmark has that is about many.
const many = 100

// sleeper is a child that does nothing.
func sleeper(b *testing.B) []string {
	b.Helper()
	path, err := exec.LookPath("sleep")
	if err != nil {
		b.Skip(err)
	}
	return []string{path, "1000"}
}

// bareStart is the floor of a start.
func bareStart(b *testing.B, command []string) (pid int) {
	pid, err := syscall.ForkExec(command[0], command, &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2}})
	if err != nil {
		b.Fatal(err)
	}
	return pid
}

// bareWait is the floor of noticing an end.
func bareWait(b *testing.B, pid int) {
	for {
		_, err := syscall.Wait4(pid, nil, 0, nil)
		if err == nil {
			return
		}
		if err != syscall.EINTR {
			b.Fatal(err)
		}
	}
}

// subreaper makes this process what supervise is, until release. Bare children
// need a process that is none: its reaper would wait for them.
func subreaper(b *testing.B) (release func()) {
	release, err := procworker.Subreaper()
	if err != nil {
		b.Skip(err)
	}
	return release
}

// A crew is children that are served, each by a Restarter without delay.
type crew struct {
	workers []*procworker.Worker
	cancel  context.CancelFunc
	group   sync.WaitGroup
	ready   chan struct{} // one token for each time that a child was ready
}

func newCrew(command []string, n int) *crew {
	c := &crew{ready: make(chan struct{}, 1<<20)}
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	for range n {
		w := &procworker.Worker{Command: command}
		c.workers = append(c.workers, w)
		r := supervisor.NewRestarter(announcer{w, c.ready}, supervisor.Options{Backoff: supervisor.Backoff{InitialDelay: -1}})
		c.group.Go(func() { _ = r.Serve(ctx) })
	}
	return c
}

func (c *crew) stop() {
	c.cancel()
	c.group.Wait()
}

func (c *crew) await(n int) {
	for range n {
		<-c.ready
	}
}

// An announcer tells when the worker inside is ready.
type announcer struct {
	*procworker.Worker
	ready chan<- struct{}
}

func (a announcer) ServeReady(ctx context.Context, ready func()) error {
	return a.Worker.ServeReady(ctx, func() {
		ready()
		a.ready <- struct{}{}
	})
}

func report(b *testing.B, floor, ours time.Duration) {
	b.ReportMetric(float64(floor.Microseconds())/float64(b.N), "bare-us")
	b.ReportMetric(float64(ours.Microseconds())/float64(b.N), "ours-us")
	b.ReportMetric(float64(ours)/float64(floor), "ratio")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkRestart compares the time from the KILL of a child until the next one
// runs with kill, wait, fork and exec. Target: at most 1.3 times as long.
func BenchmarkRestart(b *testing.B) {
	command := sleeper(b)
	c := newCrew(command, 1)
	defer c.stop()
	c.await(1)
	var floor, ours time.Duration
	for b.Loop() {
		pid := bareStart(b, command)
		begin := time.Now()
		_ = syscall.Kill(pid, syscall.SIGKILL)
		bareWait(b, pid)
		pid = bareStart(b, command)
		floor += time.Since(begin)
		_ = syscall.Kill(pid, syscall.SIGKILL)
		bareWait(b, pid)

		release := subreaper(b)
		begin = time.Now()
		_ = syscall.Kill(c.workers[0].Snapshot().PID, syscall.SIGKILL)
		c.await(1)
		ours += time.Since(begin)
		release()
	}
	report(b, floor, ours)
}

// BenchmarkStart100 compares the time until 100 children are ready with 100
// times fork and exec. Target: at most 1.3 times as long.
func BenchmarkStart100(b *testing.B) { start100(b, false) }

// BenchmarkStop100 compares the time in which 100 children are stopped with
// kill and wait of 100. Target: at most 2 times as long.
func BenchmarkStop100(b *testing.B) { start100(b, true) }

func start100(b *testing.B, stop bool) {
	command := sleeper(b)
	var starts, stops [2]time.Duration // bare and ours
	for b.Loop() {
		begin := time.Now()
		var pids []int
		for range many {
			pids = append(pids, bareStart(b, command))
		}
		up := time.Now()
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGTERM)
		}
		for _, pid := range pids {
			bareWait(b, pid)
		}
		starts[0] += up.Sub(begin)
		stops[0] += time.Since(up)

		release := subreaper(b)
		begin = time.Now()
		c := newCrew(command, many)
		c.await(many)
		up = time.Now()
		c.stop()
		starts[1] += up.Sub(begin)
		stops[1] += time.Since(up)
		release()
	}
	if stop {
		report(b, stops[0], stops[1])
	} else {
		report(b, starts[0], starts[1])
	}
}

// BenchmarkStorm has 100 children that exit at once and are started again at
// once, for 10 seconds. Targets: at least 0.4 of the starts of a bare loop of
// fork, exec and wait; an answer within 100 ms, always; stopped within 100 ms.
func BenchmarkStorm(b *testing.B) {
	const duration = 10 * time.Second
	command, err := exec.LookPath("true")
	if err != nil {
		b.Skip(err)
	}
	bare := func(d time.Duration) (perSecond float64, cpu time.Duration) {
		n := 0
		begin, used := time.Now(), cpuTime(b)
		for time.Since(begin) < d {
			bareWait(b, bareStart(b, []string{command}))
			n++
		}
		return float64(n) / time.Since(begin).Seconds(), (cpuTime(b) - used) / time.Duration(n)
	}
	for b.Loop() {
		before, cpuBefore := bare(duration / 4)
		p := launch(b, "-n", strconv.Itoa(many), "-restart-delay", "0s", "--", command)
		first := total(p.await("the first starts", func(all []state) bool { return total(all) > 0 }))
		begin := time.Now()
		var slowest time.Duration
		answers := 0
		last := 0
		for time.Since(begin) < duration {
			asked := time.Now()
			all, err := states(p.socket)
			if err != nil {
				b.Fatal(err)
			}
			slowest = max(slowest, time.Since(asked))
			last = total(all)
			answers++
			<-time.After(50 * time.Millisecond)
		}
		rate := float64(last-first) / time.Since(begin).Seconds()
		stopping := time.Now()
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		<-p.ended
		b.ReportMetric(float64(time.Since(stopping).Microseconds())/1000, "stop-ms")
		after, cpuAfter := bare(duration / 4) // before and after: the machine may be busy
		floor, cpuFloor := (before+after)/2, (cpuBefore+cpuAfter)/2
		used := p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime() // its children's, too
		cpu := used / time.Duration(last)
		b.ReportMetric(float64(cpuFloor.Microseconds()), "bare-cpu-us/start")
		b.ReportMetric(float64(cpu.Microseconds()), "cpu-us/start")
		b.ReportMetric(float64(cpu)/float64(cpuFloor), "cpu-ratio")
		b.ReportMetric(floor, "bare-starts/s")
		b.ReportMetric(rate, "starts/s")
		b.ReportMetric(rate/floor, "ratio")
		b.ReportMetric(float64(slowest.Microseconds())/1000, "slowest-status-ms")
		b.ReportMetric(float64(answers), "answers")
	}
	b.ReportMetric(0, "ns/op")
}

// cpuTime is what this process and its children that are over have used.
func cpuTime(b *testing.B) (used time.Duration) {
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var r syscall.Rusage
		if err := syscall.Getrusage(who, &r); err != nil {
			b.Fatal(err)
		}
		used += time.Duration(r.Utime.Nano() + r.Stime.Nano())
	}
	return used
}

func total(all []state) (restarts int) {
	for _, s := range all {
		restarts += s.Restarts
	}
	return restarts
}

// BenchmarkMemory100 measures supervise, the process alone, with 100 children
// that have printed something: resident memory, and its proportional share.
// Target: 15 MiB in all. The program is built as users have it.
func BenchmarkMemory100(b *testing.B) {
	program := b.TempDir() + "/supervise"
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		b.Fatalf("build: %v\n%s", err, out)
	}
	for b.Loop() {
		socket := b.TempDir() + "/s"
		c := exec.Command(program, "-n", strconv.Itoa(many), "-socket", socket, "-log-dir", b.TempDir(),
			"-log-max-size", "10M", "--", "sh", "-c", "seq 100; exec sleep 1000")
		if err := c.Start(); err != nil {
			b.Fatal(err)
		}
		p := &process{t: b, socket: socket, ended: make(chan struct{})}
		p.await("100 copies", func(all []state) bool { return len(all) == many && allReady(all) })
		<-time.After(2 * time.Second) // until they have printed
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", c.Process.Pid))
		if err != nil {
			b.Skip(err)
		}
		b.ReportMetric(mib(b, text, "Rss"), "rss-MiB")
		b.ReportMetric(mib(b, text, "Pss"), "pss-MiB")
		_ = c.Process.Signal(syscall.SIGTERM)
		_ = c.Wait()
	}
	b.ReportMetric(0, "ns/op")
}

func mib(b *testing.B, rollup []byte, name string) float64 {
	b.Helper()
	found := regexp.MustCompile(`(?m)^` + name + `:\s+(\d+) kB`).FindSubmatch(rollup)
	if found == nil {
		b.Fatalf("no %s in %s", name, rollup)
	}
	kib, err := strconv.ParseFloat(string(found[1]), 64)
	if err != nil {
		b.Fatal(err)
	}
	return kib / 1024
}
