package supervisor_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/poppobuilder/poppobuilder/supervisor"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errBoom = errors.New("boom")

// A step is one run of a scripted service: it is ready after a while, if ready
// is not negative, runs for a while in all, and ends by what end returns or
// panics with. Without end it runs until it is told to stop.
type step struct {
	ready time.Duration
	run   time.Duration
	end   func() error
}

func returns(err error) func() error { return func() error { return err } }
func panics(v any) func() error      { return func() error { panic(v) } }

// fails is a step that ends at once.
func fails(err error) step { return step{end: returns(err)} }

// A script is a ReadyService that does one step after the other, and then waits
// to be told to stop. It notes when it was started, and fails the test if it is
// started while it runs.
type script struct {
	t      *testing.T
	steps  []step
	epoch  time.Time
	starts []time.Duration
	active atomic.Int32
}

func newScript(t *testing.T, steps ...step) *script {
	return &script{t: t, steps: steps, epoch: time.Now()}
}

func (s *script) String() string                  { return "script" }
func (s *script) Serve(ctx context.Context) error { return s.ServeReady(ctx, func() {}) }

func (s *script) ServeReady(ctx context.Context, ready func()) error {
	if s.active.Add(1) != 1 {
		s.t.Error("service was started while it runs")
	}
	defer s.active.Add(-1)
	n := len(s.starts)
	s.starts = append(s.starts, time.Since(s.epoch))
	var now step
	if n < len(s.steps) {
		now = s.steps[n]
	}
	var readyC, endC <-chan time.Time
	if now.ready == 0 {
		ready()
	} else if now.ready > 0 {
		readyC = time.After(now.ready)
	}
	if now.end != nil {
		if now.run == 0 {
			return now.end()
		}
		endC = time.After(now.run)
	}
	for {
		select {
		case <-readyC:
			ready()
		case <-endC:
			return now.end()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// troubleOf is the trouble of st, or none.
func troubleOf(st supervisor.Status) supervisor.Trouble {
	if st.Trouble == nil {
		return supervisor.Trouble{}
	}
	return *st.Trouble
}

// A running is a service that a test serves.
type running struct {
	cancel context.CancelFunc
	errs   chan error
}

// serve serves s in a goroutine of its own.
func serve(t *testing.T, s supervisor.Service) *running {
	ctx, cancel := context.WithCancel(t.Context())
	r := &running{cancel: cancel, errs: make(chan error, 1)}
	go func() { r.errs <- s.Serve(ctx) }()
	return r
}

// wait returns what Serve returned.
func (r *running) wait() error { return <-r.errs }

// stop stops the service and checks that it says so.
func (r *running) stop(t *testing.T) {
	t.Helper()
	r.cancel()
	if err := r.wait(); !errors.Is(err, context.Canceled) {
		t.Errorf("Serve after stop = %v, want context.Canceled", err)
	}
}

// sleep moves a bubble's time, and waits until everything in it has settled.
func sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func seconds(s ...float64) []time.Duration {
	var ds []time.Duration
	for _, s := range s {
		ds = append(ds, time.Duration(s*float64(time.Second)))
	}
	return ds
}

// bubble runs a test with a fake clock. It fails if a goroutine is left.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, f)
}
