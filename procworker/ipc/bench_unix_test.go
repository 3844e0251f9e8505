//go:build unix

package ipc_test

import (
	"context"
	"io"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/poppobuilder/poppobuilder/procworker/ipc"
)

const (
	benchLine   = `{"type":"ready","protocol":1,"pid":12345}` + "\n"
	benchRounds = 500 // messages of one side before it is the other one's turn
)

var benchBody = ipc.Ready{Protocol: 1, PID: 12345}

// beside measures ours and its floor in turns, so that the noise of the
// machine falls on both, and reports how near ours comes: 1 is the floor. It
// is the medians that count: on a machine that others use, too, a mean tells
// more of them.
func beside(b *testing.B, ours, floor func(n int) error) {
	b.Helper()
	sides := []func(int) error{floor, ours}
	spent := make([][]time.Duration, len(sides))
	for b.Loop() {
		for i, run := range sides {
			begin := time.Now()
			if err := run(benchRounds); err != nil {
				b.Fatal(err)
			}
			spent[i] = append(spent[i], time.Since(begin))
		}
	}
	rate := func(all []time.Duration) float64 {
		slices.Sort(all)
		return benchRounds / all[len(all)/2].Seconds()
	}
	b.ReportMetric(rate(spent[0]), "floor-msg/s")
	b.ReportMetric(rate(spent[1]), "conn-msg/s")
	b.ReportMetric(rate(spent[1])/rate(spent[0]), "of-floor")
}

// BenchmarkRoundTrip sends a message there and back, beside the same bytes
// over a bare socketpair.
func BenchmarkRoundTrip(b *testing.B) {
	ctx := context.Background()
	near, far := workerPair(b)
	go func() {
		for {
			if _, err := far.Receive(); err != nil {
				return
			}
			if far.Send(ctx, benchBody) != nil {
				return
			}
		}
	}()
	bareNear, bareFar := barePair(b)
	go func() {
		buf := make([]byte, len(benchLine))
		for {
			if _, err := io.ReadFull(bareFar, buf); err != nil {
				return
			}
			if _, err := bareFar.Write(buf); err != nil {
				return
			}
		}
	}()
	b.ReportAllocs()
	beside(b, func(n int) error {
		for range n {
			if err := near.Send(ctx, benchBody); err != nil {
				return err
			}
			if _, err := near.Receive(); err != nil {
				return err
			}
		}
		return nil
	}, func(n int) error {
		line, buf := []byte(benchLine), make([]byte, len(benchLine))
		for range n {
			if _, err := bareNear.Write(line); err != nil {
				return err
			}
			if _, err := io.ReadFull(bareNear, buf); err != nil {
				return err
			}
		}
		return nil
	})
}

// BenchmarkOneWay sends as fast as the other side receives, until that has all
// of it.
func BenchmarkOneWay(b *testing.B) {
	ctx := context.Background()
	near, far := workerPair(b)
	got := make(chan struct{})
	go func() {
		for n := 1; ; n++ {
			if _, err := far.Receive(); err != nil {
				return
			}
			if n%benchRounds == 0 {
				got <- struct{}{}
			}
		}
	}()
	bareNear, bareFar := barePair(b)
	bareGot := make(chan struct{})
	go func() {
		buf := make([]byte, 4096)
		for left := benchRounds * len(benchLine); ; {
			n, err := bareFar.Read(buf)
			if err != nil {
				return
			}
			if left -= n; left == 0 {
				left = benchRounds * len(benchLine)
				bareGot <- struct{}{}
			}
		}
	}()
	b.ReportAllocs()
	beside(b, func(n int) error {
		for range n {
			if err := near.Send(ctx, benchBody); err != nil {
				return err
			}
		}
		<-got
		return nil
	}, func(n int) error {
		line := []byte(benchLine)
		for range n {
			if _, err := bareNear.Write(line); err != nil {
				return err
			}
		}
		<-bareGot
		return nil
	})
}

// workerPair returns the ends that a supervisor and its worker have.
func workerPair(b *testing.B) (near, far *ipc.Conn) {
	b.Helper()
	parent, child := barePair(b)
	fd, err := unix.Dup(int(child.Fd()))
	if err != nil {
		b.Fatal(err)
	}
	b.Setenv(ipc.EnvFD, strconv.Itoa(fd))
	far, err = ipc.FromEnv()
	if err != nil {
		b.Fatal(err)
	}
	child.Close()
	near = ipc.NewConn(parent, ipc.Options{})
	b.Cleanup(func() { near.Close(); far.Close() })
	return near, far
}

func barePair(b *testing.B) (near, far *os.File) {
	b.Helper()
	near, far, err := ipc.Pair()
	if err != nil {
		b.Skip(err)
	}
	b.Cleanup(func() { near.Close(); far.Close() })
	return near, far
}
