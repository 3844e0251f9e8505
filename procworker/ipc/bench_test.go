package ipc_test

import (
	"bytes"
	"context"
	"io"
	"os"
	"testing"

	"github.com/poppobuilder/poppobuilder/procworker/ipc"
)

// BenchmarkRoundTrip sends a message there and back, against the same bytes
// over the bare socketpair.
func BenchmarkRoundTrip(b *testing.B) {
	ctx := context.Background()
	b.Run("conn", func(b *testing.B) {
		near, far := pair(b)
		go func() {
			for {
				if _, err := far.Receive(); err != nil {
					return
				}
				if far.Send(ctx, ipc.Ready{Protocol: 1, PID: 12345}) != nil {
					return
				}
			}
		}()
		b.ReportAllocs()
		for b.Loop() {
			if err := near.Send(ctx, ipc.Ready{Protocol: 1, PID: 12345}); err != nil {
				b.Fatal(err)
			}
			if _, err := near.Receive(); err != nil {
				b.Fatal(err)
			}
		}
		near.Close()
	})
	b.Run("bare", func(b *testing.B) {
		near, far := barePair(b)
		line := []byte(`{"type":"ready","protocol":1,"pid":12345}` + "\n")
		go func() {
			buf := make([]byte, len(line))
			for {
				if _, err := io.ReadFull(far, buf); err != nil {
					return
				}
				if _, err := far.Write(buf); err != nil {
					return
				}
			}
		}()
		buf := make([]byte, len(line))
		for b.Loop() {
			if _, err := near.Write(line); err != nil {
				b.Fatal(err)
			}
			if _, err := io.ReadFull(near, buf); err != nil {
				b.Fatal(err)
			}
		}
		near.Close()
	})
}

// BenchmarkOneWay sends as fast as the other side receives.
func BenchmarkOneWay(b *testing.B) {
	ctx := context.Background()
	b.Run("conn", func(b *testing.B) {
		near, far := pair(b)
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				if _, err := far.Receive(); err != nil {
					return
				}
			}
		}()
		b.ReportAllocs()
		for b.Loop() {
			if err := near.Send(ctx, ipc.Ready{Protocol: 1, PID: 12345}); err != nil {
				b.Fatal(err)
			}
		}
		near.Close()
		<-done
	})
	b.Run("bare", func(b *testing.B) {
		near, far := barePair(b)
		line := []byte(`{"type":"ready","protocol":1,"pid":12345}` + "\n")
		done := make(chan struct{})
		go func() {
			defer close(done)
			buf := make([]byte, 4096)
			for {
				n, err := far.Read(buf)
				if err != nil {
					return
				}
				bytes.IndexByte(buf[:n], '\n')
			}
		}()
		for b.Loop() {
			if _, err := near.Write(line); err != nil {
				b.Fatal(err)
			}
		}
		near.Close()
		<-done
	})
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
