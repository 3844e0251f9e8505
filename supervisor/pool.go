package supervisor

import (
	"context"
	"fmt"
	"time"
)

// PoolOptions describe a [Pool]. What is said of a child holds for all of them,
// and means what it means in [Spec].
type PoolOptions struct {
	// Name is for events, errors and status. Empty: "pool".
	Name      string
	Restart   Restart
	Backoff   Backoff
	Shutdown  time.Duration
	Normal    func(err error) bool
	Intensity Intensity // of all children together, as in SupervisorOptions
}

// A Pool is a supervisor for any number of like children that come and go while
// it is served: OTP's simple_one_for_one. The children have no order: they stop
// at the same time. When a child has ended for good it is gone, and when Serve
// has ended all are. Make it with [NewPool]. Its methods may be called from any
// goroutine.
type Pool struct {
	sup      *Supervisor
	template Spec
}

// NewPool makes an empty pool. If the options make no sense, it returns one
// *[SpecError] for each fault, joined.
func NewPool(o PoolOptions) (*Pool, error) {
	if o.Name == "" {
		o.Name = "pool"
	}
	p := &Pool{
		sup: newSupervisor(SupervisorOptions{Name: o.Name, Intensity: o.Intensity}),
		template: Spec{
			Restart: o.Restart, Backoff: o.Backoff, Shutdown: o.Shutdown, Normal: o.Normal,
			AllowAbandoned: true, // an abandoned one is gone, and so never starts again
			Service:        ServiceFunc(nil),
		},
	}
	p.sup.pool = true
	if err := specErrors(o.Name, "", p.template.check(Never)); err != nil {
		return nil, err
	}
	return p, nil
}

// A PoolChild is a child of a [Pool].
type PoolChild struct{ m *member }

// String gives the name, which is that of the pool and a number.
func (c *PoolChild) String() string { return c.m.name }

func (p *Pool) core() *Supervisor {
	if p == nil {
		return nil
	}
	return p.sup
}

// String returns the name.
func (p *Pool) String() string { return p.sup.String() }

// Serve is like [Supervisor.Serve]. There are no children at first.
func (p *Pool) Serve(ctx context.Context) error { return p.sup.Serve(ctx) }

// ServeReady is Serve, and calls ready at once.
func (p *Pool) ServeReady(ctx context.Context, ready func()) error {
	return p.sup.ServeReady(ctx, ready)
}

// Start starts a child, and returns when it is ready, or has ended normally
// before that. If it ends before it is ready it is gone, and Start returns a
// *[StartError]. Further errors: [ErrNotServed]; ctx's error, while the start
// goes on. With ctx's error the child is returned too.
func (p *Pool) Start(ctx context.Context, svc Service) (*PoolChild, error) {
	spec := p.template
	spec.Service = svc
	if svc == nil || isNilNest(svc) {
		return nil, specErrors(p.sup.opts.Name, "", spec.check(Never))
	}
	m, ready := p.sup.spawn(spec)
	if m == nil {
		return nil, fmt.Errorf("start %s in %s: %w", nameOf(svc), p, ErrNotServed)
	}
	err := await(ctx, ready)
	switch err.(type) {
	case nil:
		return &PoolChild{m}, nil
	case *StartError:
		return nil, err
	}
	return &PoolChild{m}, fmt.Errorf("start %s in %s: %w", m.name, p, err)
}

// spawn adds and starts a member of a pool, or returns nil.
func (s *Supervisor) spawn(spec Spec) (*member, <-chan error) {
	s.mu.Lock()
	defer s.unlock()
	if s.phase != phaseStarting && s.phase != phaseUp {
		return nil, nil
	}
	now := s.now()
	s.number++
	spec.Name = fmt.Sprintf("%s-%d", s.opts.Name, s.number)
	m := newMember(s, spec.withDefaults(), now)
	m.attach()
	s.insert(m, false)
	m.tell(EventAdded, now, nil)
	return m, m.begin(addTrial, now)
}

// Stop stops a child, and returns when it has stopped and is gone. Stopping what
// is gone already is no error. Errors: [ErrNotFound], if it is of another pool;
// [ErrAbandoned], if it still runs after its time; ctx's error, while the stop
// goes on.
func (p *Pool) Stop(ctx context.Context, c *PoolChild) error {
	if c == nil || c.m.sup != p.sup {
		return fmt.Errorf("stop in %s: %w", p, ErrNotFound)
	}
	p.sup.mu.Lock()
	var ended <-chan error
	here := p.sup.byName[c.m.name] == c.m
	left := c.m.run != nil && !here
	if here {
		ended = c.m.terminate(p.sup.now())
	}
	p.sup.unlock()
	err := await(ctx, ended)
	if left {
		err = ErrAbandoned
	}
	if err != nil {
		return fmt.Errorf("stop %s in %s: %w", c, p, err)
	}
	return nil
}

// RestartNow ends a pending delay: the child is started at once. In any other
// state, and for a child of another pool, it does nothing.
func (p *Pool) RestartNow(c *PoolChild) {
	p.sup.mu.Lock()
	defer p.sup.unlock()
	if c != nil && c.m.sup == p.sup && c.m.state == StateBackoff {
		c.m.due(p.sup.now())
	}
}

// SetIntensity is like [Supervisor.SetIntensity].
func (p *Pool) SetIntensity(i Intensity) { p.sup.SetIntensity(i) }

// Len is how many children there are.
func (p *Pool) Len() int {
	p.sup.mu.Lock()
	defer p.sup.mu.Unlock()
	return len(p.sup.members)
}

// Status is like [Supervisor.Status].
func (p *Pool) Status() SupervisorStatus { return p.sup.Status() }

// Abandoned is like [Supervisor.Abandoned].
func (p *Pool) Abandoned() []string { return p.sup.Abandoned() }

// Subscribe is like [Supervisor.Subscribe].
func (p *Pool) Subscribe(n int) *Subscription { return p.sup.Subscribe(n) }
