package supervisor_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/poppobuilder/poppobuilder/supervisor"
)

// A stage writes down what its actors do, in the order in which they do it: "+a"
// when a was started, "a!" when it is ready, "-a" when it has ended.
type stage struct {
	t      *testing.T
	errorf func(format string, args ...any) // t.Errorf

	mu   sync.Mutex
	log  []string
	live map[string]int
	cue  map[string]chan func() error // makes a running actor end
}

func newStage(t *testing.T) *stage {
	return &stage{t: t, errorf: t.Errorf, live: map[string]int{}, cue: map[string]chan func() error{}}
}

// An act is how an actor plays one run. The zero act is ready at once, runs
// until it is told to stop, and stops at once.
type act struct {
	ready  time.Duration // until it is ready, if it is not negative
	run    time.Duration // until it ends by itself, if end is not nil
	end    func() error
	linger time.Duration // from being told to stop to its end
	deaf   bool          // it does not listen when it is told to stop
}

// actor returns a service that plays one act after the other, and then zero
// acts.
func (s *stage) actor(name string, acts ...act) *actor {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cue[name] == nil {
		s.cue[name] = make(chan func() error)
	}
	return &actor{stage: s, name: name, acts: acts, cue: s.cue[name]}
}

type actor struct {
	stage *stage
	name  string
	acts  []act
	cue   <-chan func() error
	twins bool // it may run beside itself
}

func (a *actor) String() string                  { return a.name }
func (a *actor) Serve(ctx context.Context) error { panic("Serve of a ReadyService was called") }

func (a *actor) ServeReady(ctx context.Context, ready func()) error {
	now := a.enter()
	defer a.leave()
	var readyC, endC <-chan time.Time
	switch {
	case now.ready == 0:
		a.note(a.name + "!")
		ready()
	case now.ready > 0:
		readyC = time.After(now.ready)
	}
	if now.end != nil {
		endC = time.After(now.run)
	}
	done := ctx.Done()
	if now.deaf {
		done = nil
	}
	for {
		select {
		case <-readyC:
			a.note(a.name + "!")
			ready()
		case <-endC:
			return now.end()
		case end := <-a.cue:
			return end()
		case <-done:
			if now.linger > 0 {
				time.Sleep(now.linger)
			}
			return ctx.Err()
		}
	}
}

func (a *actor) enter() act {
	s := a.stage
	s.mu.Lock()
	defer s.mu.Unlock()
	var now act
	if len(a.acts) > 0 {
		now, a.acts = a.acts[0], a.acts[1:]
	}
	s.log = append(s.log, "+"+a.name)
	if s.live[a.name]++; s.live[a.name] > 1 && !a.twins {
		s.errorf("%s was started while it runs", a.name)
	}
	return now
}

func (a *actor) leave() {
	a.stage.mu.Lock()
	defer a.stage.mu.Unlock()
	a.stage.live[a.name]--
	a.stage.log = append(a.stage.log, "-"+a.name)
}

func (a *actor) note(s string) {
	a.stage.mu.Lock()
	defer a.stage.mu.Unlock()
	a.stage.log = append(a.stage.log, s)
}

// ends makes the named actor, which runs, end so.
func (s *stage) ends(name string, end func() error) {
	s.cue[name] <- end
	synctest.Wait()
}

// saw checks what was written down since the last call.
func (s *stage) saw(want string) {
	s.t.Helper()
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if got := strings.Join(s.log, " "); got != want {
		s.t.Errorf("it went:  %s\nwant:     %s", got, want)
	}
	s.log = nil
}

// eager is a backoff without delays, as in OTP.
var eager = supervisor.Backoff{InitialDelay: -1, ResetAfter: -1}

// spec is a permanent child without delays.
func spec(svc supervisor.Service) supervisor.Spec {
	return supervisor.Spec{Service: svc, Backoff: eager}
}

func (s *stage) specs(names ...string) (specs []supervisor.Spec) {
	for _, name := range names {
		specs = append(specs, spec(s.actor(name)))
	}
	return specs
}

func newSupervisor(t *testing.T, o supervisor.SupervisorOptions) *supervisor.Supervisor {
	t.Helper()
	s, err := supervisor.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A reporter is a Supervisor or a Pool.
type reporter interface {
	Status() supervisor.SupervisorStatus
}

// states is the state of each child, as in "a:ready b:idle".
func states(s reporter) string {
	var words []string
	for _, c := range s.Status().Children {
		words = append(words, fmt.Sprintf("%s:%s", c.Name, c.State))
	}
	return strings.Join(words, " ")
}

// in checks the state of each child.
func in(t *testing.T, s reporter, want string) {
	t.Helper()
	synctest.Wait()
	if got := states(s); got != want {
		t.Errorf("states: %s\nwant:   %s", got, want)
	}
}

// is checks an error.
func is(t *testing.T, what string, err error, want ...error) {
	t.Helper()
	if len(want) == 0 && err != nil {
		t.Errorf("%s = %v, want no error", what, err)
	}
	for _, w := range want {
		if !errors.Is(err, w) {
			t.Errorf("%s = %v, want %v", what, err, w)
		}
	}
}

func as[T error](t *testing.T, what string, err error) T {
	t.Helper()
	var target T
	if !errors.As(err, &target) {
		t.Fatalf("%s = %v, want a %T", what, err, target)
	}
	return target
}

// under makes a table of tests, each in a bubble.
func under(t *testing.T, tests map[string]func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	var names []string
	for name := range tests {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		t.Run(name, func(t *testing.T) { bubble(t, tests[name]) })
	}
}
