package api_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/poppobuilder/poppobuilder/internal/api"
)

// idle is a backend that only knows its status.
type idle struct{ api.Backend }

func (idle) Status() api.Status {
	return api.Status{Running: true, State: api.StateRunning, Strategy: "fair"}
}

func Example() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	l, err := api.ListenUnix(filepath.Join(dir, "daemon.sock"))
	if err != nil {
		fmt.Println(err)
		return
	}
	server := &api.Server{Listener: l, Handler: api.NewHandler(idle{}, api.HandlerOptions{})}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx) }()

	c := api.NewClient(l.Addr().String())
	defer c.Close()
	status, err := c.Status(ctx)
	fmt.Println(status.State, status.Strategy, err)

	stop()
	fmt.Println(<-done)
	_, err = c.Status(context.Background())
	fmt.Println(errors.Is(err, api.ErrNotRunning))
	// Output:
	// running fair <nil>
	// context canceled
	// true
}

func ExampleProblem() {
	h := api.NewHandler(idle{}, api.HandlerOptions{Token: "a token of at least 32 characters"})
	r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1:45678/v1/reload", nil)
	r.RemoteAddr = "127.0.0.1:50000"
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	fmt.Print(w.Body)
	// Output:
	// {"type":"about:blank","title":"Unauthorized","status":401,"detail":"send the token of the file api-token as \"Authorization: Bearer TOKEN\", or ask over the unix socket","code":"unauthorized"}
}

// BenchmarkClient_Status asks as the CLI does, with a connection of its own,
// and as a program that goes on asking.
func BenchmarkClient_Status(b *testing.B) {
	socket := serveUnix(b, newFake(), api.HandlerOptions{}).Socket()
	for _, bm := range []struct {
		name  string
		close bool
	}{{"connect", true}, {"connected", false}} {
		b.Run(bm.name, func(b *testing.B) {
			b.ReportAllocs()
			c := api.NewClient(socket)
			defer c.Close()
			for b.Loop() {
				if _, err := c.Status(b.Context()); err != nil {
					b.Fatal(err)
				}
				if bm.close {
					c.Close()
				}
			}
		})
	}
}
