package procworker_test

import (
	"context"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/poppobuilder/poppobuilder/procworker"
)

// BenchmarkStartToReady measures the time from Serve to ready, and beside it,
// in turn, the bare fork and exec of the same program to its first byte on a
// pipe. The program is this test binary. The ratio of the sums is reported.
func BenchmarkStartToReady(b *testing.B) {
	var bare, worker time.Duration
	n := 0
	for b.Loop() {
		bare += bareStart(b)
		worker += workerStart(b)
		n++
	}
	b.ReportMetric(float64(bare.Nanoseconds())/float64(n), "bare-ns/op")
	b.ReportMetric(float64(worker.Nanoseconds())/float64(n), "ready-ns/op")
	b.ReportMetric(float64(worker)/float64(bare), "ratio")
}

func bareStart(b *testing.B) time.Duration {
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	begin := time.Now()
	r, w, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	in, hold, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	defer hold.Close()
	pid, err := syscall.ForkExec(self, []string{self}, &syscall.ProcAttr{
		Env:   append(os.Environ(), envChild+"=byte"),
		Files: []uintptr{in.Fd(), w.Fd(), 2},
	})
	if err != nil {
		b.Fatal(err)
	}
	in.Close()
	w.Close()
	if _, err := r.Read(make([]byte, 1)); err != nil {
		b.Fatal(err)
	}
	took := time.Since(begin)
	_ = syscall.Kill(pid, syscall.SIGKILL)
	if _, err := syscall.Wait4(pid, nil, 0, nil); err != nil {
		b.Fatal(err)
	}
	return took
}

func workerStart(b *testing.B) time.Duration {
	w := asChild(b, "echo")
	w.Stop = procworker.Stop{Grace: -1}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var took time.Duration
	begin := time.Now()
	_ = w.ServeReady(ctx, func() {
		took = time.Since(begin)
		cancel()
	})
	if took == 0 {
		b.Fatal("not ready")
	}
	return took
}

// BenchmarkRun measures a whole life, from Serve to its return, of a child
// that exits at once, and beside it a bare fork, exec and wait.
func BenchmarkRun(b *testing.B) {
	var bare, worker time.Duration
	n := 0
	for b.Loop() {
		begin := time.Now()
		pid, err := syscall.ForkExec("/bin/true", []string{"true"}, &syscall.ProcAttr{Env: os.Environ()})
		if err != nil {
			b.Skip(err)
		}
		if _, err := syscall.Wait4(pid, nil, 0, nil); err != nil {
			b.Fatal(err)
		}
		between := time.Now()
		w := &procworker.Worker{Command: []string{"/bin/true"}}
		if err := w.Serve(context.Background()); err != nil {
			b.Fatal(err)
		}
		bare += between.Sub(begin)
		worker += time.Since(between)
		n++
	}
	b.ReportMetric(float64(bare.Nanoseconds())/float64(n), "bare-ns/op")
	b.ReportMetric(float64(worker.Nanoseconds())/float64(n), "serve-ns/op")
	b.ReportMetric(float64(worker)/float64(bare), "ratio")
}

func BenchmarkSnapshot(b *testing.B) {
	w := &procworker.Worker{Command: []string{"true"}}
	if err := w.Serve(context.Background()); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		_ = w.Snapshot()
	}
}
