package signals_test

import (
	"context"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/poppobuilder/poppobuilder/signals"
)

// source stands in for os/signal, and like it drops what a channel has no room for.
type source struct {
	mu    sync.Mutex // guards chans
	chans map[chan<- os.Signal][]os.Signal
}

func (s *source) notify(ch chan<- os.Signal, sigs ...os.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.chans == nil {
		s.chans = map[chan<- os.Signal][]os.Signal{}
	}
	s.chans[ch] = append(s.chans[ch], sigs...)
}

func (s *source) stop(ch chan<- os.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.chans, ch)
}

// send delivers sigs one after the other, and reports whether somebody has asked for all of them.
func (s *source) send(sigs ...os.Signal) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := true
	for _, sig := range sigs {
		asked := false
		for ch, wants := range s.chans {
			if !slices.Contains(wants, sig) {
				continue
			}
			asked = true
			select {
			case ch <- sig:
			default:
			}
		}
		all = all && asked
	}
	return all
}

// arrive is send that lets each signal arrive before the next is sent. It needs a synctest bubble.
func (s *source) arrive(sigs ...os.Signal) bool {
	all := true
	for _, sig := range sigs {
		all = s.send(sig) && all
		synctest.Wait()
	}
	return all
}

// log collects the names of the signals that its handler was called for.
type log struct {
	mu    sync.Mutex // guards names
	names []string
}

func (l *log) handle(_ context.Context, sig os.Signal) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.names = append(l.names, strings.TrimPrefix(signals.Name(sig), "SIG"))
	return nil
}

// take returns the names since the last take.
func (l *log) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := strings.Join(l.names, " ")
	l.names = nil
	return text
}

const (
	hup  = syscall.SIGHUP
	intr = syscall.SIGINT
	quit = syscall.SIGQUIT
	alrm = syscall.SIGALRM
	term = syscall.SIGTERM
)

// bed is a router with a source of signals, and handlers that log.
type bed struct {
	*signals.Router
	source
	log
	result chan error // of the Serve that serve has started
	cancel context.CancelFunc
}

// listen makes a bed whose routes all log, except for those that are given.
func listen(t *testing.T, routes signals.Routes) *bed {
	t.Helper()
	b := &bed{}
	all := signals.Routes{hup: b.handle, intr: b.handle, quit: b.handle, alrm: b.handle, term: b.handle}
	for sig, handler := range routes {
		all[sig] = handler
	}
	b.Router = signals.ListenTo(all, b.notify, b.source.stop)
	t.Cleanup(func() { b.Close() })
	return b
}

func (b *bed) serve(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	b.cancel = cancel
	b.result = make(chan error, 1)
	go func() { b.result <- b.Serve(ctx) }()
}

// holdBack returns a handler that logs, tells that it is in, and waits to be let go.
func (b *bed) holdBack() (handler signals.Handler, in <-chan struct{}, letGo chan<- struct{}) {
	entered, gate := make(chan struct{}), make(chan struct{})
	return func(ctx context.Context, sig os.Signal) error {
		entered <- struct{}{}
		<-gate
		return b.handle(ctx, sig)
	}, entered, gate
}

func want(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}
