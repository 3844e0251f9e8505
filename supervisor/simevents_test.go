package supervisor_test

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/poppobuilder/poppobuilder/supervisor"
)

// The invariants of each event and of the status: see siminvariants_test.go.

// statesOf says which state the events of a kind lead to.
var statesOf = map[supervisor.EventKind][]supervisor.State{
	supervisor.EventStarting:   {supervisor.StateStarting},
	supervisor.EventRestarted:  {supervisor.StateStarting},
	supervisor.EventReady:      {supervisor.StateReady},
	supervisor.EventBackingOff: {supervisor.StateBackoff},
	supervisor.EventGaveUp:     {supervisor.StateGaveUp},
	supervisor.EventEnded:      {supervisor.StateEnded, supervisor.StateIdle},
	supervisor.EventStopping:   {supervisor.StateStopping},
	supervisor.EventStopped:    {supervisor.StateIdle, supervisor.StateWaiting},
	supervisor.EventAbandoned:  {supervisor.StateAbandoned},
	supervisor.EventAdded:      {supervisor.StateIdle},
}

func (c *simCheck) event(e supervisor.Event, at time.Duration, loose bool) {
	s := c.sups[e.Path]
	if e.Kind == supervisor.EventAdded {
		c.added(s, e.Name, at)
	}
	if loose {
		c.looseEnd(s, e)
		return
	}
	k := s.find(e.Name)
	if k == nil {
		c.fault("%v: there is no such child", e)
		return
	}
	if want := statesOf[e.Kind]; want != nil && !slices.Contains(want, e.State) {
		c.fault("%v: leads to %v, want %v", e, e.State, want)
	}
	switch e.Kind {
	case supervisor.EventAdded:
		return
	case supervisor.EventDeleted:
		if k.live {
			c.fault("%v: it runs", e)
		}
		s.drop(e.Name)
		return
	case supervisor.EventStarting, supervisor.EventRestarted:
		c.start(k, e, at)
	case supervisor.EventReady:
		if k.state != supervisor.StateStarting || e.Generation != k.generation {
			c.fault("%v: in %v, generation %d of %d", e, k.state, e.Generation, k.generation)
		}
		k.readyAt, k.settled = at, true
	case supervisor.EventStopping:
		c.stopping(k, e, at)
	case supervisor.EventAbandoned:
		if limit := k.stopTime(); k.state != supervisor.StateStopping || at != k.since+limit {
			c.fault("%v: %v after %v, want %v after stopping", e, at-k.since, k.state, limit)
		}
		c.forgive(k, at)
		k.live = false
		s.loose[e.Name]++
	case supervisor.EventStopped:
		if !k.live && k.state != supervisor.StateBackoff {
			c.fault("%v: of what is %v", e, k.state)
		}
		if k.state == supervisor.StateStopping && at-k.since > k.stopTime() {
			c.fault("%v: after %v", e, at-k.since)
		}
	case supervisor.EventBackingOff, supervisor.EventGaveUp:
		c.failed(k, e, at)
	case supervisor.EventEnded:
		if !k.live {
			c.fault("%v: of what is %v", e, k.state)
		}
	default: // the end of a run, and the next event tells what follows
		return
	}
	k.state, k.since = e.State, at
	switch e.Kind {
	case supervisor.EventStopped, supervisor.EventBackingOff, supervisor.EventGaveUp, supervisor.EventEnded:
		c.closed(k, at)
	}
}

// closed ends a run.
func (c *simCheck) closed(k *checkedKid, at time.Duration) {
	c.forgive(k, at)
	k.live, k.settled = false, true
	if k.inner != nil {
		c.nothingLeft(k.inner)
	}
}

// forgive forgets the earlier failures if the run that is over was stable.
func (c *simCheck) forgive(k *checkedKid, at time.Duration) {
	if k.stable(at) && k.state != supervisor.StateBackoff {
		k.own, k.host = 0, 0
	}
	k.readyAt = -1
}

func (k *checkedKid) stable(at time.Duration) bool {
	after := normalized(k.spec.Backoff).ResetAfter
	return k.readyAt >= 0 && after > 0 && at-k.readyAt >= after
}

func (k *checkedKid) stopTime() time.Duration {
	switch {
	case k.inner != nil || k.spec.Shutdown == supervisor.Infinite:
		return supervisor.Infinite
	case k.spec.Shutdown == supervisor.Brutal:
		return 100 * time.Millisecond
	case k.spec.Shutdown == 0:
		return 5 * time.Second
	default:
		return k.spec.Shutdown
	}
}

func (c *simCheck) added(s *checkedSup, name string, at time.Duration) {
	for _, a := range c.asks {
		if a.at == at && a.op.Sup == s.path && (a.op.What == "start" || a.op.What == "add" && a.op.Name == name) {
			s.drop(name) // a temporary one that has ended
			sp := a.op.Kid.Spec
			sp.Name = name
			k := s.kid(sp)
			k.added, k.touched = true, true
			return
		}
	}
	c.fault("%s/%s was added by nobody", s.path, name)
}

func (c *simCheck) looseEnd(s *checkedSup, e supervisor.Event) {
	if s.loose[e.Name]--; s.loose[e.Name] < 0 {
		c.fault("%v: it had not been abandoned", e)
	}
	if k := s.find(e.Name); k != nil && k.state == supervisor.StateAbandoned &&
		(e.State == supervisor.StateIdle || e.State == supervisor.StateWaiting) {
		k.state = e.State
	}
}

func (c *simCheck) start(k *checkedKid, e supervisor.Event, at time.Duration) {
	s := k.sup
	if k.live {
		c.fault("%v: it runs", e)
	}
	if s.loose[e.Name] > 0 && !k.spec.AllowAbandoned {
		c.fault("%v: an abandoned run of it goes on", e)
	}
	if e.Generation != k.generation+1 {
		c.fault("%v: generation %d after %d", e, e.Generation, k.generation)
	}
	if s.gaveUp {
		c.fault("%v: its supervisor has given up", e)
	}
	op, byHand := c.byHand(k, at)
	k.startsInTime(c, e, at)
	if !byHand {
		c.startsInOrder(k, e, at)
	} else if op.What == "restart" && !k.cut {
		k.own, k.host = 0, 0
	}
	if k.generation = e.Generation; e.Kind == supervisor.EventRestarted {
		k.restarts++
	}
	k.live, k.started, k.cut, k.readyAt = true, true, false, -1
	if k.inner != nil {
		c.begin(k.inner)
	}
}

// startsInTime checks that the delay before a restart has been kept.
func (k *checkedKid) startsInTime(c *simCheck, e supervisor.Event, at time.Duration) {
	alone := k.sup.plan.Pool || k.sup.plan.Strategy == supervisor.OneForOne
	due := k.nextTry
	if k.cut {
		due = min(due, k.cutAt)
	}
	switch {
	case k.state != supervisor.StateBackoff:
	case at < due, alone && at != due:
		c.fault("%v: at %v, want %v", e, at, due)
	}
}

// startsInOrder checks a start that nobody asked for at this moment.
func (c *simCheck) startsInOrder(k *checkedKid, e supervisor.Event, at time.Duration) {
	group := !k.sup.plan.Pool && k.sup.plan.Strategy != supervisor.OneForOne
	before := true
	for _, o := range k.sup.order {
		if o == k {
			before = false
			continue
		}
		switch {
		case group && k.sup.plan.Strategy == supervisor.OneForAll && o.state == supervisor.StateBackoff && !o.cut && o.nextTry > at:
			c.fault("%v: %v has to wait until %v", e, o, o.nextTry)
		case o.touched || k.touched:
		case group && o.state == supervisor.StateStopping:
			c.fault("%v: %v still stops", e, o)
		case before && (group || !k.started && !o.settled) && o.state == supervisor.StateStarting && !o.spec.Background:
			c.fault("%v: %v is not ready yet", e, o)
		case o.spec.Background && k.sup.loose[o.spec.Name] > 0: // nobody waits for it
		case before && !k.started && !k.added && !o.added && !o.started:
			c.fault("%v: %v was not started before it", e, o)
		}
	}
}

func (c *simCheck) stopping(k *checkedKid, e supervisor.Event, at time.Duration) {
	if !k.live || k.state != supervisor.StateStarting && k.state != supervisor.StateReady {
		c.fault("%v: it is %v", e, k.state)
	}
	if _, byHand := c.byHand(k, at); byHand || k.sup.plan.Pool {
		return
	}
	after := false
	for _, o := range k.sup.order {
		if after && o.live && !o.touched && !k.touched {
			c.fault("%v: %v still runs", e, o)
		}
		after = after || o == k
	}
}

// failed checks the decision after a failure.
func (c *simCheck) failed(k *checkedKid, e supervisor.Event, at time.Duration) {
	s, host := k.sup, blamesHost(e.Err)
	if !k.live {
		c.fault("%v: of what is %v", e, k.state)
	}
	var start *supervisor.StartError
	nested := errors.As(e.Err, &start) // whose cause may ask for anything
	if k.spec.Restart == supervisor.Temporary || k.spec.Restart == supervisor.Transient && e.Err == nil ||
		e.Kind == supervisor.EventBackingOff && !nested && isFinal(e.Err) {
		c.fault("%v: of a %v child", e, k.spec.Restart)
	}
	if !host {
		s.failures = append(s.failures, at)
	}
	c.intense(s, e, at, host)
	if e.Kind == supervisor.EventGaveUp {
		s.gaveUp = true
		return
	}
	if k.stable(at) {
		k.own, k.host = 0, 0
	}
	step := &k.host
	if !host {
		step, k.host = &k.own, 0
	}
	if want := delayAt(normalized(k.spec.Backoff), *step); e.Delay != want {
		c.fault("%v: want %v, after %d failures in a row", e, want, *step)
	}
	*step++
	k.nextTry, k.cut = at+e.Delay, false
}

// intense compares the failures in the period with the limit.
func (c *simCheck) intense(s *checkedSup, e supervisor.Event, at time.Duration, host bool) {
	limit := s.plan.Limit
	if limit.Within == 0 {
		limit.Within = time.Minute
	}
	recent := 0
	for _, f := range s.failures {
		if at-f <= limit.Within {
			recent++
		}
	}
	tooMany := limit.MaxRestarts != 0 && recent > max(limit.MaxRestarts, 0) && !host
	if gaveUp := e.Kind == supervisor.EventGaveUp; gaveUp != tooMany {
		c.fault("%v: %d failures within %v, and %d are allowed", e, recent, limit.Within, limit.MaxRestarts)
	}
}

// blamesHost is how an end without fault of the child is told from others.
func blamesHost(err error) bool {
	for start, ok := err.(*supervisor.StartError); ok; start, ok = err.(*supervisor.StartError) {
		err = start.Err
	}
	switch err.(type) {
	case *supervisor.PanicError, *supervisor.IntensityError:
		return false
	}
	var h interface{ Host() bool }
	return errors.As(err, &h) && h.Host()
}

func isFinal(err error) bool {
	switch err.(type) {
	case *supervisor.PanicError, *supervisor.IntensityError:
		return false
	}
	return errors.Is(err, supervisor.ErrDoNotRestart) || errors.Is(err, supervisor.ErrTerminateTree)
}

// status compares a status with what the events before it have told.
func (c *simCheck) status(s *checkedSup, st supervisor.SupervisorStatus, at time.Duration) {
	loose, names := 0, []string{}
	for _, n := range s.loose {
		loose += n
	}
	if st.Abandoned != loose {
		c.fault("at %v %q has %d abandoned, want %d", at, s.path, st.Abandoned, loose)
	}
	for _, child := range st.Children {
		names = append(names, child.Name)
		k := s.find(child.Name)
		if k == nil {
			c.fault("at %v the status of %q knows %s", at, s.path, child.Name)
			continue
		}
		if !k.mayBe(child.State, at) || child.Generation != k.generation || child.Restarts != k.restarts {
			c.fault("at %v %v is %v, generation %d, with %d restarts; want %v, %d, %d",
				at, k, child.State, child.Generation, child.Restarts, k.state, k.generation, k.restarts)
		}
		if child.State == supervisor.StateBackoff && child.Trouble.NextTry.Sub(c.epoch) != k.nextTry {
			c.fault("at %v %v is due at %v, want %v", at, k, child.Trouble.NextTry.Sub(c.epoch), k.nextTry)
		}
		if child.Inside != nil {
			c.status(k.inner, *child.Inside, at)
		}
	}
	if s.plan.Pool { // it has no order
		slices.Sort(names)
	}
	i := 0
	for _, k := range s.sorted() {
		if i < len(names) && names[i] == k.spec.Name {
			i++
		} else if k.live {
			c.fault("at %v the status of %q lacks %v", at, s.path, k)
		}
	}
	if i < len(names) {
		c.fault("at %v the status of %q has another order: %v", at, s.path, strings.Join(names, " "))
	}
}

// sorted gives the children in order, or by name if they have none.
func (s *checkedSup) sorted() []*checkedKid {
	if !s.plan.Pool {
		return s.order
	}
	return slices.SortedFunc(slices.Values(s.order), func(a, b *checkedKid) int { return strings.Compare(a.spec.Name, b.spec.Name) })
}

// mayBe reports whether k can be in st by its events. Who waits for its turn, or
// is not wanted any more, has no event for that.
func (k *checkedKid) mayBe(st supervisor.State, at time.Duration) bool {
	switch k.state {
	case supervisor.StateIdle, supervisor.StateWaiting, supervisor.StateEnded, supervisor.StateGaveUp:
		return st == k.state || st == supervisor.StateIdle || st == supervisor.StateWaiting
	case supervisor.StateBackoff:
		over := k.cut || at >= k.nextTry
		return st == k.state && !over || over && (st == supervisor.StateIdle || st == supervisor.StateWaiting)
	default:
		return st == k.state
	}
}
