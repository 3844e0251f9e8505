package supervisor

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/thejerf/suture/v4"
)

// TreeOptions are the policy of a [Tree].
type TreeOptions struct {
	// StopTimeout is how long a tree that stops waits for its services; what
	// still runs then is abandoned, and named by [Tree.Unstopped]. Timeouts do
	// not nest by themselves: a tree inside another needs the shorter one.
	// 0: 10 s. Negative: as long as it takes.
	StopTimeout time.Duration
}

// A Tree runs services side by side, each by its own policy: a failure of one
// never delays another. It is a suture supervisor, made fit to hold
// [Restarter]s, and a [Service], so that trees hold trees. Make it with
// [NewTree]. Its methods may be called from any goroutine.
type Tree struct {
	name    string
	timeout time.Duration
	hub     hub

	// mu guards what follows. The hub's lock and a child's are never taken
	// under it.
	mu       sync.Mutex
	children []*child     // in the order of Add; removed ones too while they run
	serving  *treeServing // nil if it is not being served
}

// A treeServing is one Serve of a Tree.
type treeServing struct {
	sup   *suture.Supervisor // of its own, as suture's can be served only once
	stop  context.CancelFunc
	cause error // what asked for the end of the tree, guarded by Tree.mu
}

// A Token names a service that was added to a [Tree].
type Token struct{ child *child }

// NewTree makes an empty tree.
func NewTree(name string, o TreeOptions) *Tree {
	switch {
	case o.StopTimeout == 0:
		o.StopTimeout = 10 * time.Second
	case o.StopTimeout < 0:
		o.StopTimeout = math.MaxInt64
	}
	return &Tree{name: name, timeout: o.StopTimeout}
}

// String returns the name.
func (t *Tree) String() string { return t.name }

// Subscribe returns a queue of at most n events, at least one, which takes the
// events of all Restarters in the tree, of those in trees inside it, and its
// own: [EventAbandoned].
func (t *Tree) Subscribe(n int) *Subscription { return t.hub.subscribe(n) }

// Add adds s. A tree that is being served starts it at once, one that is not
// when it is served. A service that is neither a *Restarter nor a *Tree is put
// in a Restarter with the default policy, because the tree itself knows no
// delay. A service that has ended for good stays in the tree, and is started
// again when the tree is served again, until it is removed.
func (t *Tree) Add(s Service) Token {
	var inner *hub
	switch s := s.(type) {
	case *Restarter:
		inner = &s.sup.hub
	case *Tree:
		inner = &s.hub
	default:
		return t.Add(NewRestarter(s, Options{}))
	}
	inner.attach(&t.hub)
	ctx, remove := context.WithCancel(context.Background())
	c := &child{tree: t, svc: s, hub: inner, removed: ctx, remove: remove}

	t.mu.Lock()
	t.children = append(t.children, c)
	serving := t.serving
	t.mu.Unlock()
	if serving != nil {
		// Without effect if it is stopping; then the next Serve starts c.
		serving.sup.Add(c)
	}
	return Token{c}
}

// Remove stops a service and takes it out of the tree, and waits until it has
// stopped. If ctx ends before that, the error wraps ctx's; the service is out
// all the same and will not be started again, and another Remove waits on.
// Removing what is removed already is no error.
func (t *Tree) Remove(ctx context.Context, token Token) error {
	c := token.child
	if c == nil || c.tree != t {
		return fmt.Errorf("remove from %s: the token is of another tree", t)
	}
	c.remove()
	if err := c.wait(ctx); err != nil {
		return fmt.Errorf("remove %s from %s: it has not stopped yet: %w", c, t, err)
	}
	t.drop(c)
	return nil
}

// drop forgets a child that was removed and does not run.
func (t *Tree) drop(c *child) {
	t.mu.Lock()
	if i := slices.Index(t.children, c); i >= 0 {
		t.children = slices.Delete(t.children, i, i+1)
	}
	t.mu.Unlock()
	c.hub.detach(&t.hub)
}

// Unstopped names the services that should have stopped and still run: those
// that outlived their Remove, and, when Serve has returned, all that outlived
// StopTimeout. A name in an inner tree comes as a path ("inner/worker").
func (t *Tree) Unstopped() []string {
	t.mu.Lock()
	children, served := slices.Clone(t.children), t.serving != nil
	t.mu.Unlock()
	var names []string
	for _, c := range children {
		if c.running() && (!served || c.removed.Err() != nil) {
			names = append(names, c.String())
		} else if inner, ok := c.svc.(*Tree); ok {
			for _, name := range inner.Unstopped() {
				names = append(names, c.String()+"/"+name)
			}
		}
	}
	return names
}

// Serve starts all services and runs until ctx ends, and returns ctx.Err(), or
// until one returns [ErrTerminateTree], and returns what that one returned. All
// services are stopped at the same time. When it returns they have stopped,
// except for those that [Tree.Unstopped] names. It may be called again
// afterwards; an abandoned service is then started when it has ended.
func (t *Tree) Serve(ctx context.Context) error {
	run, err := t.begin(ctx)
	if err != nil {
		return err
	}
	return run()
}

// ServeBackground is Serve in a new goroutine: the channel gives its error, and
// is then closed. When it returns, the tree is being served.
func (t *Tree) ServeBackground(ctx context.Context) <-chan error {
	errs := make(chan error, 1)
	run, err := t.begin(ctx)
	if err != nil {
		run = func() error { return err }
	}
	go func() {
		defer close(errs)
		errs <- run()
	}()
	return errs
}

// begin opens a Serve and returns the rest of it.
func (t *Tree) begin(ctx context.Context) (run func() error, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.serving != nil {
		return nil, fmt.Errorf("serve %s: %w: %w", t, ErrAlreadyServed, ErrDoNotRestart)
	}
	sup := suture.New(t.name, suture.Spec{
		EventHook: t.hook,
		// Never pause, whatever happens: each service has its own delays. Not
		// +Inf, which json.Marshal refuses to write in suture's events.
		FailureThreshold: math.MaxFloat64,
		Timeout:          t.timeout,
	})
	for _, c := range t.children {
		sup.Add(c) // only lists it, as sup is not being served yet
	}
	ctx, stop := context.WithCancel(ctx)
	t.serving = &treeServing{sup: sup, stop: stop}
	return func() error {
		defer stop()
		return t.end(sup.Serve(ctx))
	}, nil
}

// terminate stops the tree because of err.
func (t *Tree) terminate(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.serving != nil && t.serving.cause == nil {
		t.serving.cause = err
		t.serving.stop()
	}
}

// end closes a Serve that ended with err, and returns what it is to return.
func (t *Tree) end(err error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.serving.cause != nil {
		err = t.serving.cause
	}
	t.serving = nil
	return err
}

// hook is called by suture, on its loop. A service of a tree neither fails nor
// panics, so the only event is that one has not stopped in time.
func (t *Tree) hook(e suture.Event) {
	if e, ok := e.(suture.EventStopTimeout); ok {
		t.hub.deliver(&Event{Kind: EventAbandoned, Name: e.ServiceName, Time: time.Now()})
	}
}
