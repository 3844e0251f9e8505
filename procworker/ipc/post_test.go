package ipc_test

import (
	"bufio"
	"io"
	"net"
	"testing"

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

// What waits when the channel ends is dropped, and holds nobody up.
func TestPostAtTheEnd(t *testing.T) {
	t.Parallel()
	near, far := net.Pipe()
	defer far.Close()
	c := ipc.NewConn(near, ipc.Options{})
	for n := range 3 {
		if err := c.Post(metrics(float64(n))); err != nil {
			t.Error(err)
		}
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := c.Post(metrics(4)); err != nil {
		t.Error(err)
	}
}
