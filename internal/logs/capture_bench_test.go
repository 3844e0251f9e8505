package logs_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/poppobuilder/poppobuilder/internal/logs"
	"github.com/poppobuilder/poppobuilder/procworker"
)

// envPrint makes the test binary print so many lines of 100 bytes instead of
// running tests.
const envPrint = "LOGS_TEST_PRINT"

const printedLine = 100

// printLines prints numbered lines, 64 KiB in a write, as a program does that
// is in a hurry.
func printLines(count string) int {
	n, err := strconv.Atoi(count)
	if err != nil {
		return 2
	}
	buf := make([]byte, 0, 64<<10)
	for i := range n {
		if len(buf)+printedLine > cap(buf) {
			if _, err := os.Stdout.Write(buf); err != nil {
				return 1
			}
			buf = buf[:0]
		}
		buf = appendPrinted(buf, i)
	}
	if _, err := os.Stdout.Write(buf); err != nil {
		return 1
	}
	return 0
}

var padding = bytes.Repeat([]byte("x"), printedLine-len("line 00000000 \n"))

func appendPrinted(buf []byte, i int) []byte {
	number := strconv.Itoa(i)
	buf = append(buf, "line 00000000"[:len("line 00000000")-len(number)]...)
	buf = append(buf, number...)
	buf = append(buf, ' ')
	buf = append(buf, padding...)
	return append(buf, '\n')
}

// BenchmarkCapture takes 256 MiB in lines of 100 bytes from a child to a log
// that rotates, and beside it the same child's output to a file through cat.
// It reports our speed as a part of cat's, and our CPU time as a multiple, with
// that of the child on both sides. Every byte is looked for afterwards.
func BenchmarkCapture(b *testing.B) {
	for _, limits := range []struct {
		name string
		logs.Limits
	}{
		{"plain", logs.Limits{MaxSize: 10 << 20, MaxFiles: 60, Plain: true}},
		{"compressing", logs.Limits{MaxSize: 10 << 20, MaxFiles: 60}},
	} {
		b.Run(limits.name, func(b *testing.B) { benchmarkCapture(b, limits.Limits) })
	}
}

func benchmarkCapture(b *testing.B, limits logs.Limits) {
	const lines = 256 << 20 / printedLine
	var ours, floor []cost
	for b.Loop() {
		dir := b.TempDir()
		floor = append(floor, measure(func() { catOutput(b, filepath.Join(dir, "cat.log"), lines) }))
		path := filepath.Join(dir, "a.log")
		var w *logs.Writer
		taken := measure(func() { w = captureOutput(b, path, limits, lines) })
		idle := measure(func() { w.WaitCompressed() })
		taken.cpu += idle.cpu
		ours = append(ours, taken)
		checkPrinted(b, path, limits, lines)
		if err := os.RemoveAll(dir); err != nil {
			b.Fatal(err)
		}
	}
	wall := func(c cost) float64 { return c.wall.Seconds() }
	cpu := func(c cost) float64 { return c.cpu.Seconds() }
	b.ReportMetric(256/median(floor, wall), "cat-MiB/s")
	b.ReportMetric(256/median(ours, wall), "log-MiB/s")
	b.ReportMetric(median(floor, wall)/median(ours, wall), "of-cat-speed")
	b.ReportMetric(median(ours, cpu)/median(floor, cpu), "of-cat-CPU")
}

type cost struct{ wall, cpu time.Duration }

// measure returns what f takes, in this process and in children that end.
func measure(f func()) cost {
	begin, before := time.Now(), cpuTime()
	f()
	return cost{time.Since(begin), cpuTime() - before}
}

func cpuTime() (total time.Duration) {
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		_ = syscall.Getrusage(who, &u)
		total += time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	return total
}

func median(all []cost, of func(cost) float64) float64 {
	values := make([]float64, len(all))
	for i, c := range all {
		values[i] = of(c)
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// captureOutput is the way that the output of a worker takes.
func captureOutput(b *testing.B, path string, limits logs.Limits, lines int) *logs.Writer {
	w := open(b, path, limits)
	out := logs.NewLines(w, 0)
	child := &procworker.Worker{
		Command:  []string{os.Args[0]},
		ExtraEnv: []string{fmt.Sprintf("%s=%d", envPrint, lines)},
		Stdout:   out, Stderr: out,
	}
	if err := child.Serve(context.Background()); err != nil {
		b.Fatal(err)
	}
	if err := out.Close(); err != nil {
		b.Fatal(err)
	}
	if lost := child.Snapshot().DroppedOutput; lost > 0 || w.Stats().DroppedLines > 0 {
		b.Fatalf("lost %d bytes on the way, and %+v", lost, w.Stats())
	}
	return w
}

func catOutput(b *testing.B, path string, lines int) {
	file, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	r, w, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	cat := exec.Command("cat")
	cat.Stdin, cat.Stdout = r, file
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), fmt.Sprintf("%s=%d", envPrint, lines))
	child.Stdout = w
	for _, c := range []*exec.Cmd{cat, child} {
		if err := c.Start(); err != nil {
			b.Fatal(err)
		}
	}
	r.Close()
	w.Close()
	for _, c := range []*exec.Cmd{child, cat} {
		if err := c.Wait(); err != nil {
			b.Fatal(err)
		}
	}
}

// checkPrinted reads all of a log, and checks that no file of it cuts a line.
func checkPrinted(b *testing.B, path string, limits logs.Limits, lines int) {
	b.Helper()
	sum := &checker{b: b}
	if err := logs.Follow(context.Background(), sum, path, logs.FollowOptions{Lines: -1}); err != nil {
		b.Fatal(err)
	}
	if sum.next != lines || len(sum.rest) > 0 {
		b.Fatalf("got %d lines and %d bytes, want %d lines", sum.next, len(sum.rest), lines)
	}
	for _, name := range rotatedFiles(b, path) {
		info, err := os.Stat(name)
		if err != nil {
			b.Fatal(err)
		}
		if size := info.Size(); filepath.Ext(name) != ".gz" && (size%printedLine != 0 || size > limits.MaxSize) {
			b.Fatalf("%s has %d bytes", name, size)
		}
	}
}

// A checker takes what printLines has printed.
type checker struct {
	b    *testing.B
	next int
	rest []byte
	want []byte
}

func (c *checker) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		take := min(printedLine-len(c.rest), len(p))
		c.rest = append(c.rest, p[:take]...)
		p = p[take:]
		if len(c.rest) < printedLine {
			break
		}
		c.want = appendPrinted(c.want[:0], c.next)
		if !bytes.Equal(c.rest, c.want) {
			return 0, fmt.Errorf("got %q, want %q: %w", c.rest, c.want, io.ErrUnexpectedEOF)
		}
		c.rest = c.rest[:0]
		c.next++
	}
	return n, nil
}
