package ipc_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/poppobuilder/poppobuilder/procworker/ipc"
)

func metrics(n float64) ipc.Metrics {
	return ipc.Metrics{Metrics: map[string]float64{"n": n}}
}

// While the other side does not read, the latest of each type is kept.
func TestPostKeepsTheLatest(t *testing.T) {
	t.Parallel()
	near, far := net.Pipe() // unbuffered
	c := ipc.NewConn(near, ipc.Options{})
	defer c.Close()
	post := func(b ipc.Body) {
		t.Helper()
		if err := c.Post(b); err != nil {
			t.Fatal(err)
		}
	}
	post(metrics(1))
	first := make([]byte, 1)
	if _, err := io.ReadFull(far, first); err != nil { // it is being written, then
		t.Fatal(err)
	}
	for n := range 100 {
		post(metrics(float64(n)))
		post(ipc.Heartbeat{})
	}
	if got := c.Stats().Replaced; got != 198 {
		t.Errorf("replaced %d, want 198", got)
	}
	lines := bufio.NewScanner(far)
	for _, want := range []string{`"type":"metrics","metrics":{"n":1}}`, `{"type":"metrics","metrics":{"n":99}}`, `{"type":"heartbeat"}`} {
		if !lines.Scan() || lines.Text() != want {
			t.Errorf("got %s, want %s", lines.Text(), want)
		}
	}
	post(metrics(7))
	if want := `{"type":"metrics","metrics":{"n":7}}`; !lines.Scan() || lines.Text() != want {
		t.Errorf("got %s, want %s", lines.Text(), want)
	}
	if err := c.Post(kind("a\"b")); err == nil {
		t.Error("posted what is no message")
	}
}

// What waits when the channel ends is dropped: nothing is written after Close.
func TestPostAtTheEnd(t *testing.T) {
	t.Parallel()
	ch := &tiedChannel{writes: make(chan struct{}, 4), closed: make(chan struct{})}
	c := ipc.NewConn(ch, ipc.Options{})
	post := func(b ipc.Body) {
		t.Helper()
		if err := c.Post(b); err != nil {
			t.Error(err)
		}
	}
	post(metrics(1))
	<-ch.writes
	post(metrics(2))
	post(ipc.Heartbeat{})
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if n := len(ch.writes); n > 0 {
		t.Errorf("%d messages were written after Close", n)
	}
}

// Nobody waits for what is posted after Close, also where a Send does not end.
func TestPostAfterTheEnd(t *testing.T) {
	t.Parallel()
	ch := &tiedChannel{writes: make(chan struct{}, 4), closed: make(chan struct{}), deaf: make(chan struct{})}
	c := ipc.NewConn(ch, ipc.Options{})
	sent := make(chan error, 1)
	go func() { sent <- c.Send(t.Context(), metrics(1)) }()
	<-ch.writes
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := c.Post(metrics(2)); err != nil {
		t.Error(err)
	}
	again := make(chan error, 1)
	go func() { again <- c.Close() }()
	select {
	case <-again:
	case <-time.After(10 * time.Second):
		t.Error("Close waits for what was posted after it")
	}
	close(ch.deaf)
	if err := <-sent; !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("send: got %v", err)
	}
}

// A tiedChannel is a channel whose writes hang until it is closed, and if it is
// deaf, longer.
type tiedChannel struct {
	writes       chan struct{} // has a token for each that has begun
	closed, deaf chan struct{}
	once         sync.Once
}

func (c *tiedChannel) Read([]byte) (int, error) { <-c.closed; return 0, io.EOF }

func (c *tiedChannel) Write([]byte) (int, error) {
	c.writes <- struct{}{}
	<-c.closed
	if c.deaf != nil {
		<-c.deaf
	}
	return 0, io.ErrClosedPipe
}

func (c *tiedChannel) Close() error {
	c.once.Do(func() { close(c.closed) })
	return nil
}
