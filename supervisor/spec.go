package supervisor

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/thejerf/suture/v4"
)

// Strategy says which children are started again when one has failed. The
// words and their meaning are those of OTP's supervisor(3).
type Strategy int

const (
	OneForOne  Strategy = iota // the one that failed
	OneForAll                  // all of them: they cannot do without each other
	RestForOne                 // the one that failed and those after it, which depend on it
)

// String gives OTP's word, which [ParseStrategy] reads.
func (s Strategy) String() string {
	switch s {
	case OneForOne:
		return "one_for_one"
	case OneForAll:
		return "one_for_all"
	case RestForOne:
		return "rest_for_one"
	default:
		return fmt.Sprintf("Strategy(%d)", int(s))
	}
}

// ParseStrategy reads one_for_one, one_for_all or rest_for_one.
func ParseStrategy(s string) (Strategy, error) {
	for v := OneForOne; v <= RestForOne; v++ {
		if s == v.String() {
			return v, nil
		}
	}
	return 0, fmt.Errorf("strategy %q: want one_for_one, one_for_all or rest_for_one", s)
}

// AutoShutdown says whether a [Supervisor] ends when its significant children
// have ended by themselves: a transient one normally, a temporary one in any
// way. It is OTP's auto_shutdown (since OTP 24).
type AutoShutdown int

const (
	Never          AutoShutdown = iota // it does not
	AnySignificant                     // when the first of them has ended
	AllSignificant                     // when the last of them has ended
)

// String gives OTP's word, which [ParseAutoShutdown] reads.
func (a AutoShutdown) String() string {
	switch a {
	case Never:
		return "never"
	case AnySignificant:
		return "any_significant"
	case AllSignificant:
		return "all_significant"
	default:
		return fmt.Sprintf("AutoShutdown(%d)", int(a))
	}
}

// ParseAutoShutdown reads never, any_significant or all_significant.
func ParseAutoShutdown(s string) (AutoShutdown, error) {
	for v := Never; v <= AllSignificant; v++ {
		if s == v.String() {
			return v, nil
		}
	}
	return 0, fmt.Errorf("auto shutdown %q: want never, any_significant or all_significant", s)
}

// Values of [Spec].Shutdown that are no length of time.
const (
	// Brutal asks a child to stop and hardly waits: OTP's brutal_kill. As a
	// goroutine cannot be killed, it gets 100 ms before it is abandoned.
	Brutal time.Duration = -1
	// Infinite waits for as long as it takes.
	Infinite time.Duration = math.MaxInt64
)

const (
	brutalTime  = 100 * time.Millisecond
	defaultTime = 5 * time.Second
)

// A Spec describes one child of a [Supervisor]. Only Service is required.
type Spec struct {
	// Name is unique among the children of one supervisor. Empty: what the
	// service's String method gives, or the name of its type.
	Name string
	// Service must not be nil, and must not be served by anybody else.
	Service Service
	// Restart says after which kind of end it is started again.
	Restart Restart
	// Backoff says how long to wait before that. The zero value waits for 1 s
	// and more; OTP, which does not wait, is Backoff{InitialDelay: -1}.
	Backoff Backoff
	// Shutdown is how long the child may take to stop, before it is abandoned;
	// or [Brutal], or [Infinite]. 0: Infinite if the child is a supervisor of
	// this package or of suture, so that it can stop its own children, and
	// 5 s otherwise, as in OTP.
	Shutdown time.Duration
	// Significant children can end their supervisor (see [AutoShutdown]). Not
	// for permanent ones, which do not end, nor with Never.
	Significant bool
	// Background makes its supervisor go on without waiting until it is ready.
	// Its first start is then a start like any other: when that fails, it is
	// tried again, where otherwise the whole supervisor fails to start.
	Background bool
	// AllowAbandoned lets it be started while an abandoned goroutine of an
	// earlier start still runs. Otherwise the new start waits for that to end.
	AllowAbandoned bool
	// Normal reports whether a child that returned err, which may be nil, has
	// ended normally. It is called in the child's goroutine, and not asked
	// about a panic, [ErrDoNotRestart] and [ErrTerminateTree]. If it panics, the
	// child has failed. Nil: only a nil error is normal.
	Normal func(err error) bool
}

// withDefaults returns sp with the fields filled in whose zero means something
// else.
func (sp Spec) withDefaults() Spec {
	if sp.Name == "" && sp.Service != nil {
		sp.Name = nameOf(sp.Service)
	}
	if sp.Shutdown == 0 {
		sp.Shutdown = defaultTime
		if holdsOthers(sp.Service) {
			sp.Shutdown = Infinite
		}
	}
	sp.Backoff = sp.Backoff.withDefaults()
	return sp
}

// holdsOthers reports whether svc is a supervisor, or a Restarter of one.
func holdsOthers(svc Service) bool {
	if isNilNest(svc) {
		return false
	}
	switch unwrapped(svc).(type) {
	case nest, *Tree, *suture.Supervisor:
		return true
	default:
		return false
	}
}

// isNilNest reports whether svc is a nil pointer to a supervisor.
func isNilNest(svc Service) bool {
	n, ok := svc.(nest)
	return ok && n.core() == nil
}

// check returns what is wrong with sp, which has its defaults.
func (sp *Spec) check(auto AutoShutdown) []error {
	var errs []error
	if sp.Service == nil || isNilNest(sp.Service) {
		errs = append(errs, errors.New("has no service"))
	}
	if sp.Restart < Permanent || sp.Restart > Temporary {
		errs = append(errs, fmt.Errorf("restart is %v, want Permanent, Transient or Temporary", sp.Restart))
	}
	if sp.Shutdown < 0 && sp.Shutdown != Brutal {
		errs = append(errs, fmt.Errorf("shutdown is %v, want 0 or more, or Brutal", sp.Shutdown))
	}
	if sp.Significant && sp.Restart == Permanent {
		errs = append(errs, errors.New("is significant and permanent: only a transient or temporary child can be significant"))
	}
	if sp.Significant && auto == Never {
		errs = append(errs, errors.New("is significant, but the supervisor's auto shutdown is never"))
	}
	return errs
}

// specErrors makes one *SpecError of each fault, joined.
func specErrors(supervisor, child string, faults []error) error {
	errs := make([]error, len(faults))
	for i, err := range faults {
		errs[i] = &SpecError{Supervisor: supervisor, Child: child, Err: err}
	}
	return errors.Join(errs...)
}

// A policy is the part of a Spec that children often have in common. It is
// shared, and never changes.
type policy struct {
	backoff        Backoff
	shutdown       time.Duration
	significant    bool
	background     bool
	allowAbandoned bool
	normal         func(error) bool
}

// policy returns the policy of sp, which has its defaults: last, if that is the
// same.
func (sp *Spec) policy(last *policy) *policy {
	p := policy{
		backoff: sp.Backoff, shutdown: sp.Shutdown,
		significant: sp.Significant, background: sp.Background, allowAbandoned: sp.AllowAbandoned,
	}
	if sp.Normal == nil && last != nil && last.normal == nil && last.like(p) {
		return last
	}
	p.normal = sp.Normal
	return &p
}

// like reports whether p and q are the same but for what cannot be compared.
func (p *policy) like(q policy) bool {
	return p.backoff == q.backoff && p.shutdown == q.shutdown &&
		p.significant == q.significant && p.background == q.background && p.allowAbandoned == q.allowAbandoned
}

// stopTime is how long a stop may take; Infinite if there is no limit.
func (p *policy) stopTime() time.Duration {
	if p.shutdown == Brutal {
		return brutalTime
	}
	return p.shutdown
}

// An ending is what the end of a run means, before the policy is asked.
type ending int

const (
	failed  ending = iota // the child is to blame
	hosts                 // the host is
	normal                // it is over, as far as the child is concerned
	final                 // it wants never to be started again
	treeEnd               // it wants everything around it to stop
)

// judge says what exit means. It calls code of others.
func (m *member) judge(exit error) (e ending, err error) {
	defer func() {
		if p := recover(); p != nil {
			e, err = failed, fmt.Errorf("judge the end of %s: %w", m.name, newPanicError(p))
		}
	}()
	ok := m.policy.Load().normal
	switch {
	case isPanic(exit): // whatever its value is
		return failed, exit
	case says(exit, func(err error) bool { return is(err, ErrTerminateTree) }):
		return treeEnd, exit
	case says(exit, func(err error) bool { return is(err, ErrDoNotRestart) }):
		return final, exit
	case ok != nil && ok(exit), ok == nil && exit == nil:
		return normal, exit
	case says(exit, isHost):
		return hosts, exit
	default:
		return failed, exit
	}
}

// says reports whether is is true of err or of an error that it wraps. It is
// errors.Is and errors.As by hand, for two reasons: what a panic was called with,
// and the failures that made a supervisor give up, say nothing; and the reflection
// of errors.As makes the stack of a short-lived goroutine grow, which takes longer
// than all else that a restart does.
func says(err error, is func(error) bool) bool {
	for err != nil {
		switch err.(type) {
		case *PanicError, *IntensityError:
			return false
		}
		if is(err) {
			return true
		}
		switch wraps := err.(type) {
		case interface{ Unwrap() error }:
			err = wraps.Unwrap()
		case interface{ Unwrap() []error }:
			return slices.ContainsFunc(wraps.Unwrap(), func(err error) bool { return says(err, is) })
		default:
			return false
		}
	}
	return false
}

// is reports whether err itself is target, or claims to be.
func is(err, target error) bool {
	if err == target {
		return true
	}
	claims, ok := err.(interface{ Is(error) bool })
	return ok && claims.Is(target)
}

// isHost reports whether err itself says that the host could not do its part, as
// opposed to the service.
func isHost(err error) bool {
	h, ok := err.(interface{ Host() bool })
	return ok && h.Host()
}
