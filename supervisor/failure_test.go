package supervisor_test

import (
	"context"
	"errors"
	"io/fs"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/poppobuilder/poppobuilder/supervisor"
	"github.com/thejerf/suture/v4"
)

func explode() error { panic(fs.ErrNotExist) }

func TestPanicError(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := supervisor.NewRestarter(newScript(t, step{end: explode}), supervisor.Options{})
		run := serve(t, r)
		synctest.Wait()
		var p *supervisor.PanicError
		err := troubleOf(r.Status()).LastError
		if !errors.As(err, &p) || p.Value != fs.ErrNotExist || !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("LastError = %#v, want a *PanicError of fs.ErrNotExist", err)
		}
		if got, want := p.Error(), "panic: file does not exist"; got != want {
			t.Errorf("Error() = %q, want %q", got, want)
		}
		if !strings.Contains(string(p.Stack), "supervisor_test.explode") {
			t.Errorf("the stack does not show who panicked:\n%s", p.Stack)
		}
		run.stop(t)
	})
}

// A panic that says of itself that it is the host's trouble is the service's.
func TestPanicIsNeverHostTrouble(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := supervisor.NewRestarter(newScript(t, step{end: panics(hostError{})}), supervisor.Options{})
		run := serve(t, r)
		synctest.Wait()
		if got := troubleOf(r.Status()).Consecutive; got != 1 {
			t.Errorf("%d failures in a row, want 1", got)
		}
		run.stop(t)
	})
}

func TestGoexitIsAFailure(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScript(t, step{end: func() error { runtime.Goexit(); return nil }})
		r := supervisor.NewRestarter(s, supervisor.Options{Restart: supervisor.Transient})
		run := serve(t, r)
		synctest.Wait()
		if err := troubleOf(r.Status()).LastError; err == nil || !strings.Contains(err.Error(), "Goexit") {
			t.Errorf("LastError = %v, want it to name Goexit", err)
		}
		sleep(time.Second)
		if got := r.Status().State; got != supervisor.StateReady {
			t.Errorf("state = %v, want ready again", got)
		}
		run.stop(t)
	})
}

func TestPanicWhileStopping(t *testing.T) {
	bubble(t, func(t *testing.T) {
		run := serve(t, supervisor.NewRestarter(supervisor.ServiceFunc(func(ctx context.Context) error {
			<-ctx.Done()
			panic("oh")
		}), supervisor.Options{}))
		synctest.Wait()
		run.stop(t)
	})
}

func TestGaveUpErrorText(t *testing.T) {
	t.Parallel()
	tests := []struct {
		err  supervisor.GaveUpError
		want string
	}{
		{
			supervisor.GaveUpError{Name: "web", Restarts: 5, Within: time.Minute, Last: errBoom},
			"web gave up after 5 restarts within 1m0s: boom",
		},
		{
			supervisor.GaveUpError{Name: "web", Restarts: 2, Within: time.Second},
			"web gave up after 2 restarts within 1s: it returned without an error",
		},
	}
	for _, tt := range tests {
		if got := tt.err.Error(); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
		if !errors.Is(&tt.err, suture.ErrDoNotRestart) {
			t.Errorf("%q does not wrap suture.ErrDoNotRestart", tt.want)
		}
	}
}

func TestNewRestarterNames(t *testing.T) {
	t.Parallel()
	type secret struct {
		supervisor.Service
		Password string
	}
	tests := []struct {
		name string
		svc  supervisor.Service
		opt  string
		want string
	}{
		{"given", &script{}, "web", "web"},
		{"String", &script{}, "", "script"},
		{"type", secret{Password: "hunter2"}, "", "supervisor_test.secret"},
	}
	for _, tt := range tests {
		if got := supervisor.NewRestarter(tt.svc, supervisor.Options{Name: tt.opt}).String(); got != tt.want {
			t.Errorf("%s: name = %q, want %q", tt.name, got, tt.want)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("NewRestarter(nil) did not panic")
		}
	}()
	supervisor.NewRestarter(nil, supervisor.Options{})
}
