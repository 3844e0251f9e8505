package signals_test

import (
	"context"
	"os"
	"syscall"
	"testing"

	"github.com/poppobuilder/poppobuilder/signals"
)

// From the moment that os/signal hands a signal over until its handler runs.
func BenchmarkDispatch(b *testing.B) {
	var s source
	handled := make(chan struct{})
	handler := func(context.Context, os.Signal) error {
		handled <- struct{}{}
		return nil
	}
	routes := signals.Routes{hup: handler, intr: handler, quit: handler, alrm: handler, term: handler}
	r := signals.ListenTo(routes, s.notify, s.stop)
	defer serveInBackground(r)()
	b.ReportAllocs()
	for b.Loop() {
		s.send(term)
		<-handled
	}
}

// From kill(2) until the handler runs: kernel, runtime, os/signal and ours.
func BenchmarkDispatch_kill(b *testing.B) {
	handled := make(chan struct{})
	r := signals.Listen(signals.Routes{syscall.SIGTERM: func(context.Context, os.Signal) error {
		handled <- struct{}{}
		return nil
	}})
	defer serveInBackground(r)()
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := self.Signal(syscall.SIGTERM); err != nil {
			b.Fatal(err)
		}
		<-handled
	}
}

// serveInBackground returns what closes r and waits for the end of Serve.
func serveInBackground(r *signals.Router) (end func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.Serve(context.Background())
	}()
	return func() {
		r.Close()
		<-done
	}
}
