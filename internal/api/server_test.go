package api_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/poppobuilder/poppobuilder/internal/api"
)

// A pipeListener accepts connections without the kernel, so that they can live
// in a bubble of fake time. Their peer is on the loopback.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 45678} }

// dial waits until the server accepts.
func (l *pipeListener) dial() net.Conn {
	client, server := net.Pipe()
	l.conns <- pipeConn{server, l.Addr()}
	return client
}

type pipeConn struct {
	net.Conn
	remote net.Addr
}

func (c pipeConn) RemoteAddr() net.Addr { return c.remote }

// send writes a request from a goroutine of its own, since a pipe holds
// nothing. It ends when the connection does.
func send(conn net.Conn, method, path string) {
	go io.WriteString(conn, method+" "+path+" HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer "+token+"\r\n\r\n")
}

// answer reads one answer, and returns its status and body.
func answer(t *testing.T, conn net.Conn) (int, string) {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// inBubble runs a test with a server in fake time, and checks that the server
// stops at once after it.
func inBubble(t *testing.T, b api.Backend, s *api.Server, test func(t *testing.T, l *pipeListener)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newPipeListener()
		s.Listener, s.Handler = l, api.NewHandler(b, api.HandlerOptions{Token: token})
		ctx, stop := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- s.Serve(ctx) }()
		test(t, l)
		stopped := time.Now()
		stop()
		if err := <-done; err != context.Canceled {
			t.Errorf("Serve returned %v, want context.Canceled", err)
		}
		// http.Server.Shutdown looks after 1 ms again.
		if took := time.Since(stopped); took > 10*time.Millisecond {
			t.Errorf("Serve returned %v after the stop", took)
		}
		time.Sleep(time.Minute) // until the client's goroutines have seen it
	})
}

// closedAfter waits for the server to close the connection, and checks when.
func closedAfter(t *testing.T, conn net.Conn, want time.Duration) {
	t.Helper()
	start := time.Now()
	if _, err := io.Copy(io.Discard, conn); err != nil {
		t.Errorf("read: %v, want the end", err)
	}
	if got := time.Since(start); got != want {
		t.Errorf("cut off after %v, want %v", got, want)
	}
}

func TestServer_silentClient(t *testing.T) {
	inBubble(t, newFake(), &api.Server{}, func(t *testing.T, l *pipeListener) {
		closedAfter(t, l.dial(), 5*time.Second)
	})
}

// drip writes a byte a second until the connection is closed.
func drip(conn net.Conn, s string) {
	for _, b := range []byte(s) {
		if _, err := conn.Write([]byte{b}); err != nil {
			return
		}
		time.Sleep(time.Second)
	}
}

func TestServer_slowHeader(t *testing.T) {
	inBubble(t, newFake(), &api.Server{}, func(t *testing.T, l *pipeListener) {
		conn := l.dial()
		go drip(conn, "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
		closedAfter(t, conn, 5*time.Second)
	})
}

func TestServer_slowBody(t *testing.T) {
	b := newFake()
	inBubble(t, b, &api.Server{}, func(t *testing.T, l *pipeListener) {
		conn := l.dial()
		start := time.Now()
		go func() {
			io.WriteString(conn, "POST /v1/projects HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer "+token+
				"\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n")
			drip(conn, strings.Repeat(" ", 100))
		}()
		status, body := answer(t, conn)
		if took := time.Since(start); status != http.StatusBadRequest || !strings.Contains(body, "in time") || took != 10*time.Second {
			t.Errorf("got %d after %v: %s", status, took, body)
		}
		io.Copy(io.Discard, conn)
		if calls := b.takeCalls(); calls != nil {
			t.Errorf("the backend was told %v", calls)
		}
	})
}

func TestServer_idleClient(t *testing.T) {
	inBubble(t, newFake(), &api.Server{}, func(t *testing.T, l *pipeListener) {
		conn := l.dial()
		send(conn, "GET", "/healthz")
		if status, _ := answer(t, conn); status != http.StatusOK {
			t.Errorf("got %d", status)
		}
		closedAfter(t, conn, time.Minute)
	})
}

// TestServer_slowReader has a client that asks and does not read.
func TestServer_slowReader(t *testing.T) {
	inBubble(t, newFake(), &api.Server{}, func(t *testing.T, l *pipeListener) {
		conn := l.dial()
		send(conn, "GET", "/v1/status")
		time.Sleep(20*time.Second + 1)
		closedAfter(t, conn, 0)
	})
}

// TestServer_longWait has a run that takes an hour to stop, far longer than
// every timeout.
func TestServer_longWait(t *testing.T) {
	for _, slowReader := range []bool{false, true} {
		t.Run(map[bool]string{false: "reads", true: "does not read"}[slowReader], func(t *testing.T) {
			b := newFake()
			b.cancel = func(ctx context.Context) error {
				select {
				case <-time.After(time.Hour):
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			inBubble(t, b, &api.Server{}, func(t *testing.T, l *pipeListener) {
				conn := l.dial()
				start := time.Now()
				send(conn, "POST", "/v1/projects/web/cancel")
				if slowReader {
					time.Sleep(time.Hour + 20*time.Second + 1)
				} else if status, body := answer(t, conn); status != http.StatusOK || time.Since(start) != time.Hour {
					t.Errorf("got %d after %v: %s", status, time.Since(start), body)
				}
				if slowReader {
					closedAfter(t, conn, 0)
				} else {
					conn.Close()
				}
			})
		})
	}
}

// TestServer_bodyAfterWait has a client that never sends the body it announced,
// on an endpoint that reads none.
func TestServer_bodyAfterWait(t *testing.T) {
	inBubble(t, newFake(), &api.Server{}, func(t *testing.T, l *pipeListener) {
		conn := l.dial()
		go io.WriteString(conn, "POST /v1/sync HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer "+token+"\r\nContent-Length: 100\r\n\r\n")
		closedAfter(t, conn, 10*time.Second)
	})
}

// TestServer_stopWithSilentClient has connections that never asked anything,
// as a browser opens them ahead of need: they do not delay the stop.
func TestServer_stopWithSilentClient(t *testing.T) {
	inBubble(t, newFake(), &api.Server{}, func(t *testing.T, l *pipeListener) {
		for range 3 {
			defer l.dial()
		}
		synctest.Wait()
	})
}

// stopDuring stops a server while a request runs, and returns the answer.
func stopDuring(t *testing.T, s *api.Server, cancel func(context.Context) error, returnsAfter time.Duration) (status int, body string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := newFake()
		entered := make(chan struct{})
		b.cancel = func(ctx context.Context) error {
			close(entered)
			return cancel(ctx)
		}
		l := newPipeListener()
		s.Listener, s.Handler = l, api.NewHandler(b, api.HandlerOptions{Token: token})
		ctx, stop := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- s.Serve(ctx) }()
		conn := l.dial()
		send(conn, "POST", "/v1/projects/web/cancel")
		<-entered
		start := time.Now()
		stop()
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err == nil {
			data, _ := io.ReadAll(resp.Body)
			status, body = resp.StatusCode, string(data)
		}
		<-done
		// Shutdown looks for the last connection's end at growing intervals.
		if took := time.Since(start); took < returnsAfter || took > returnsAfter+600*time.Millisecond {
			t.Errorf("Serve returned after %v, want about %v", took, returnsAfter)
		}
		time.Sleep(time.Minute) // until the most stubborn one has ended
	})
	return status, body
}

func TestServer_stopLetsRequestsEnd(t *testing.T) {
	t.Parallel()
	status, body := stopDuring(t, &api.Server{}, func(ctx context.Context) error {
		select {
		case <-time.After(2 * time.Second):
			return nil
		case <-ctx.Done():
			return errors.New("was not left alone")
		}
	}, 2*time.Second)
	if status != http.StatusOK {
		t.Errorf("got %d: %s", status, body)
	}
}

func TestServer_stopEndsLongRequests(t *testing.T) {
	t.Parallel()
	status, body := stopDuring(t, &api.Server{}, func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}, 3*time.Second)
	if status != http.StatusGatewayTimeout || !strings.Contains(body, api.CodeTimeout) {
		t.Errorf("got %d: %s", status, body)
	}
}

func TestServer_stopLeavesStubbornRequests(t *testing.T) {
	t.Parallel()
	status, _ := stopDuring(t, &api.Server{}, func(context.Context) error {
		time.Sleep(time.Minute) // deaf to its context
		return nil
	}, 4*time.Second)
	if status != 0 {
		t.Errorf("got %d, want no answer", status)
	}
}

func TestServer_maxConns(t *testing.T) {
	inBubble(t, newFake(), &api.Server{MaxConns: 2}, func(t *testing.T, l *pipeListener) {
		start := time.Now()
		for range 3 {
			l.dial() // silent, cut off after 5 s; the third waits for that
		}
		if got := time.Since(start); got != 5*time.Second {
			t.Errorf("the third connection was accepted after %v, want 5s", got)
		}
	})
}

// TestServer_maxConnsStop stops while Accept waits for a free connection and a
// request holds the only one.
func TestServer_maxConnsStop(t *testing.T) {
	t.Parallel()
	status, body := stopDuring(t, &api.Server{MaxConns: 1}, func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}, 3*time.Second)
	if status != http.StatusGatewayTimeout {
		t.Errorf("got %d: %s", status, body)
	}
}

func TestServer_listenerFails(t *testing.T) {
	t.Parallel()
	l := newPipeListener()
	l.Close()
	s := &api.Server{Listener: l, Handler: http.NotFoundHandler()}
	err := s.Serve(t.Context())
	if !errors.Is(err, net.ErrClosed) || !strings.Contains(err.Error(), "127.0.0.1:45678") {
		t.Errorf("got %v, want net.ErrClosed with the address", err)
	}
}

// TestServer_tcp goes once through the real thing.
func TestServer_tcp(t *testing.T) {
	t.Parallel()
	l, err := api.ListenTCP("127.0.0.1", 0)
	if err != nil {
		t.Fatal(err)
	}
	addr := serve(t, &api.Server{Listener: l, Handler: api.NewHandler(newFake(), api.HandlerOptions{Token: token})})
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	c := &http.Client{Transport: transport}
	for path, want := range map[string]int{"/v1/status": 200, "/v1/projects": 401, "/nothing": 401} {
		resp, err := c.Get("http://" + addr + path)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: got %s, want %d", path, resp.Status, want)
		}
	}
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "OPTIONS * HTTP/1.1\r\nHost: evil.example\r\n\r\n")
	if status, body := answer(t, conn); status != http.StatusForbidden {
		t.Errorf("OPTIONS * for another host: got %d: %s", status, body)
	}
}

func TestServer_largeHeader(t *testing.T) {
	inBubble(t, newFake(), &api.Server{}, func(t *testing.T, l *pipeListener) {
		conn := l.dial()
		send(conn, "GET", "/healthz?"+strings.Repeat("x", 64<<10))
		if status, _ := answer(t, conn); status != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("64 KiB of header: got %d, want 431", status)
		}
	})
}
