package ipc_test

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/poppobuilder/poppobuilder/procworker/ipc"
)

// What the end of a socket says is what that of its file says.
func TestEndsOfSocket(t *testing.T) {
	t.Parallel()
	a, b := socketPair(t)
	received := make(chan error)
	go func() {
		_, err := a.Receive()
		received <- err
	}()
	if err := b.Send(t.Context(), kind("up")); err != nil {
		t.Fatal(err)
	}
	if err := <-received; err != nil {
		t.Fatal(err)
	}
	go func() {
		_, err := a.Receive()
		received <- err
	}()
	// It is closed under the reader, asleep or not.
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-received; !errors.Is(err, os.ErrClosed) {
		t.Errorf("Receive of a closed channel = %v", err)
	}
	if _, err := a.Receive(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Receive after Close = %v", err)
	}
	if err := a.Send(t.Context(), kind("up")); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Send after Close = %v", err)
	}
	if _, err := b.Receive(); !errors.Is(err, io.EOF) {
		t.Errorf("Receive from a closed side = %v", err)
	}
	if err := b.Send(t.Context(), kind("up")); !errors.Is(err, unix.EPIPE) {
		t.Errorf("Send to a closed side = %v", err)
	}
}

// A message larger than the kernel keeps goes through in pieces, both ways at
// once, while both sides wait for room.
func TestLargeMessagesBothWays(t *testing.T) {
	t.Parallel()
	a, b := socketPair(t)
	const n = 4
	long := body{"a": strings.Repeat("x", 1<<20-100)}
	failed := make(chan error)
	for _, side := range []*ipc.Conn{a, b} {
		go func() {
			for range n {
				if err := side.Send(context.Background(), long); err != nil {
					failed <- err
					return
				}
			}
			failed <- nil
		}()
		go func() {
			for range n {
				m, err := side.Receive()
				if err == nil && len(m.Raw) < 1<<20-100 {
					err = errors.New("cut")
				}
				if err != nil {
					failed <- err
					return
				}
			}
			failed <- nil
		}()
	}
	for range 4 {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
}

// socketPair returns two ends that both are in the poller, as those of two
// processes are.
func socketPair(t *testing.T) (a, b *ipc.Conn) {
	t.Helper()
	parent, child, err := ipc.Pair()
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Dup(int(child.Fd()))
	child.Close()
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		t.Fatal(err)
	}
	a, b = ipc.NewConn(parent, ipc.Options{}), ipc.NewConn(os.NewFile(uintptr(fd), "child"), ipc.Options{})
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}
