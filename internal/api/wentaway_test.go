package api_test

import (
	"errors"
	"net"
	"net/http/httptrace"
	"path/filepath"
	"testing"
	"time"

	"github.com/poppobuilder/poppobuilder/internal/api"
)

// Who is let in by a daemon that is about to end is told so, whenever it ends.
func TestClientOfADaemonThatGoesAway(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		end   func(net.Conn)             // of the connection, at the daemon
		begin func(*testing.T, net.Conn) // at the client, before it asks; nil: nothing
	}{
		"when asked": {end: func(c net.Conn) { _, _ = c.Read(make([]byte, 4096)) }},
		"while answering": {end: func(c net.Conn) {
			_, _ = c.Read(make([]byte, 4096))
			_, _ = c.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"))
		}},
		"before asked": {end: func(net.Conn) {}, begin: awaitClosed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			socket := filepath.Join(t.TempDir(), "s")
			listener, err := net.Listen("unix", socket)
			if err != nil {
				t.Fatal(err)
			}
			served := make(chan struct{})
			go func() {
				defer close(served)
				for {
					conn, err := listener.Accept()
					if err != nil {
						return
					}
					test.end(conn)
					conn.Close()
				}
			}()
			c := api.NewClient(socket)
			defer func() { c.Close(); listener.Close(); <-served }()
			ctx := t.Context()
			if test.begin != nil {
				ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
					GotConn: func(info httptrace.GotConnInfo) { test.begin(t, info.Conn) },
				})
			}
			if _, err := c.Status(ctx); !errors.Is(err, api.ErrWentAway) {
				t.Errorf("got %v, want ErrWentAway", err)
			}
			if err := c.Health(ctx); !errors.Is(err, api.ErrWentAway) {
				t.Errorf("health: got %v, want ErrWentAway", err)
			}
		})
	}
}

// awaitClosed returns when the HTTP client has found out that the other end of
// its connection is closed: then it closes its own.
func awaitClosed(t *testing.T, conn net.Conn) {
	for deadline := time.Now().Add(10 * time.Second); conn.SetDeadline(time.Time{}) == nil; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Error("the client does not notice")
			return
		}
	}
}
