package signals_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/oklog/run"

	"github.com/poppobuilder/poppobuilder/signals"
)

// What arrives is handled in the order of its arrival, whenever that is.
func TestServe_order(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		sigs []os.Signal
		want string
	}{
		{"ascending", []os.Signal{hup, intr, quit, alrm, term}, "HUP INT QUIT ALRM TERM"},
		{"descending", []os.Signal{term, alrm, quit, intr, hup}, "TERM ALRM QUIT INT HUP"},
		{"mixed", []os.Signal{quit, term, hup}, "QUIT TERM HUP"},
		{"repeated while it waits", []os.Signal{term, hup, term, hup, hup}, "TERM HUP"},
	} {
		t.Run(tt.name+", before Serve", func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := listen(t, nil)
				b.arrive(tt.sigs...)
				b.serve(t)
				synctest.Wait()
				want(t, "handled", b.take(), tt.want)
			})
		})
		t.Run(tt.name+", during a handler", func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := &bed{}
				hold, in, letGo := b.holdBack()
				routes := signals.Routes{syscall.SIGSEGV: hold, hup: b.handle, intr: b.handle, quit: b.handle, alrm: b.handle, term: b.handle}
				b.Router = signals.ListenTo(routes, b.notify, b.source.stop)
				defer b.Close()
				b.serve(t)
				b.send(syscall.SIGSEGV)
				<-in
				b.arrive(tt.sigs...)
				letGo <- struct{}{}
				synctest.Wait()
				want(t, "handled", b.take(), "SEGV "+tt.want)
			})
		})
	}
}

// Signals that have come all at once, here during Listen, are taken by number.
func TestServe_orderAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for range 50 { // enough to meet any other order, were it left to chance
			var l log
			var s source
			notify := func(ch chan<- os.Signal, sigs ...os.Signal) {
				s.notify(ch, sigs...)
				s.send(sigs...)
			}
			r := signals.ListenTo(signals.Routes{term: l.handle, alrm: l.handle, hup: l.handle, quit: l.handle, intr: l.handle}, notify, s.stop)
			synctest.Wait()
			go r.Serve(t.Context())
			synctest.Wait()
			want(t, "handled", l.take(), "HUP INT QUIT ALRM TERM")
			r.Close()
		}
	})
}

// A burst becomes one call, and what comes after that call has begun becomes another.
func TestServe_coalesces(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &bed{}
		hold, in, letGo := b.holdBack()
		b.Router = signals.ListenTo(signals.Routes{hup: hold, term: b.handle}, b.notify, b.source.stop)
		defer b.Close()
		b.serve(t)
		b.send(hup)
		<-in
		for range 100 {
			b.arrive(hup)
		}
		b.arrive(term)
		for range 100 {
			b.arrive(hup)
		}
		letGo <- struct{}{}
		<-in
		want(t, "before the second call ends", b.take(), "HUP")
		letGo <- struct{}{}
		synctest.Wait()
		want(t, "after that", b.take(), "HUP TERM")
	})
}

func TestServe_handlerError(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		errStop := errors.New("stop now")
		b := listen(t, signals.Routes{term: func(context.Context, os.Signal) error { return errStop }})
		b.arrive(hup, term, quit)
		b.serve(t)
		err := <-b.result
		if !errors.Is(err, errStop) {
			t.Errorf("Serve returned %v, which is not the handler's error", err)
		}
		want(t, "error", err.Error(), "handle SIGTERM: stop now")
		want(t, "handled", b.take(), "HUP")

		// It goes on where it was, with what has come meanwhile.
		b.arrive(hup)
		b.serve(t)
		synctest.Wait()
		want(t, "handled by the next Serve", b.take(), "QUIT HUP")
	})
}

func TestServe_contextEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := listen(t, nil)
		b.serve(t)
		synctest.Wait()
		b.cancel()
		if err := <-b.result; err != context.Canceled {
			t.Errorf("Serve returned %v, want context.Canceled", err)
		}
		if !b.arrive(term) {
			t.Error("after Serve has ended, nobody asks for SIGTERM")
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if err := b.Serve(ended); err != context.Canceled {
			t.Errorf("Serve with an ended context returned %v, want context.Canceled", err)
		}
		want(t, "handled with an ended context", b.take(), "")
		b.serve(t)
		synctest.Wait()
		want(t, "handled by the next Serve", b.take(), "TERM")
	})
}

// When ctx ends during a handler, the handler sees that, and no other one is called.
func TestServe_contextEndsDuringHandler(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := listen(t, signals.Routes{hup: func(ctx context.Context, _ os.Signal) error {
			<-ctx.Done()
			return nil
		}})
		b.arrive(hup, term)
		b.serve(t)
		synctest.Wait()
		b.cancel()
		if err := <-b.result; err != context.Canceled {
			t.Errorf("Serve returned %v, want context.Canceled", err)
		}
		want(t, "handled", b.take(), "")
	})
}

func TestServe_nilHandler(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := listen(t, signals.Routes{alrm: nil})
		b.serve(t)
		if !b.arrive(alrm, term) {
			t.Error("a signal with a nil handler is not caught")
		}
		want(t, "handled", b.take(), "TERM")
	})
}

func TestServe_twice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := listen(t, nil)
		b.serve(t)
		synctest.Wait()
		err := b.Serve(t.Context())
		if err == nil || !strings.Contains(err.Error(), "already being served") {
			t.Errorf("the second Serve at once returned %v", err)
		}
		b.arrive(hup)
		want(t, "handled by the first", b.take(), "HUP")
	})
}

func TestServe_panic(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := listen(t, signals.Routes{quit: func(context.Context, os.Signal) error { panic("no") }})
		b.arrive(quit, hup)
		func() {
			defer func() {
				if got := recover(); got != "no" {
					t.Errorf("recovered %v, want the handler's panic", got)
				}
			}()
			b.Serve(t.Context())
		}()
		b.serve(t)
		synctest.Wait()
		want(t, "handled by the next Serve", b.take(), "HUP")
	})
}

func TestClose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := listen(t, nil)
		b.serve(t)
		synctest.Wait()
		for range 2 {
			if err := b.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		}
		if err := <-b.result; err != signals.ErrClosed {
			t.Errorf("the Serve that ran returned %v, want ErrClosed", err)
		}
		if err := b.Serve(t.Context()); err != signals.ErrClosed {
			t.Errorf("a new Serve returned %v, want ErrClosed", err)
		}
		if b.send(hup) || len(b.chans) != 0 {
			t.Error("signals are still asked for")
		}
	})
}

func TestClose_inHandler(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var b *bed
		b = listen(t, signals.Routes{term: func(context.Context, os.Signal) error { return b.Close() }})
		b.arrive(term, hup)
		if err := b.Serve(t.Context()); err != signals.ErrClosed {
			t.Errorf("Serve returned %v, want ErrClosed", err)
		}
		want(t, "handled after Close", b.take(), "")
	})
}

// In a group, the router ends with the others, and keeps its signals until it is closed.
func TestActor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		errOther := errors.New("the other actor has ended")
		b := listen(t, nil)
		var g run.Group
		g.Add(b.Actor())
		end := make(chan error)
		g.Add(func() error { return <-end }, func(error) {})
		result := make(chan error)
		go func() { result <- g.Run() }()
		b.arrive(hup)
		want(t, "handled", b.take(), "HUP")
		end <- errOther
		if err := <-result; err != errOther {
			t.Errorf("the group returned %v", err)
		}
		if !b.arrive(term) {
			t.Error("after interrupt, nobody asks for SIGTERM")
		}
		b.serve(t)
		synctest.Wait()
		want(t, "handled by a Serve after the group", b.take(), "TERM")
	})
}

func TestActor_interruptedFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := listen(t, nil)
		execute, interrupt := b.Actor()
		interrupt(nil)
		if err := execute(); err != context.Canceled {
			t.Errorf("execute returned %v, want context.Canceled", err)
		}
	})
}

// A router without routes asks for nothing. (To os/signal, no names would mean all signals.)
func TestListen_empty(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var s source
		r := signals.ListenTo(nil, s.notify, s.stop)
		defer r.Close()
		if diff := cmp.Diff(map[chan<- os.Signal][]os.Signal(nil), s.chans); diff != "" {
			t.Errorf("asked for (-want +got):\n%s", diff)
		}
		want(t, "String", r.String(), "signals()")
	})
}

func TestListen_copiesRoutes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var l log
		var s source
		routes := signals.Routes{hup: l.handle}
		r := signals.ListenTo(routes, s.notify, s.stop)
		delete(routes, hup)
		s.arrive(hup)
		go r.Serve(t.Context())
		synctest.Wait()
		want(t, "handled", l.take(), "HUP")
		r.Close()
	})
}
