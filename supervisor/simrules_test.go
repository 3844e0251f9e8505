package supervisor_test

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/poppobuilder/poppobuilder/supervisor"
)

// What follows in the model from the end of a run.

func (s *mSup) endRun(r *mRun, how outcome) {
	if r.ended {
		return
	}
	r.ended = true
	k := r.kid
	exited := supervisor.EventExited
	if how == panicking && (!r.told || r.act.Deaf) {
		exited = supervisor.EventPanicked
	}
	if r.abandoned {
		s.loose = slices.DeleteFunc(s.loose, func(l *mRun) bool { return l == r })
		if k.run == r {
			k.run = nil
			k.state = supervisor.StateIdle
			if k.want {
				k.state = supervisor.StateWaiting
			}
		}
		k.tellOf(r.generation, exited, 0)
		return
	}
	early := k.state == supervisor.StateStarting
	forEver := !r.told && (how == terminate || how == final)
	asked := (r.told || k.halt) && !forEver
	k.forgive()
	k.run, k.halt = nil, false
	if asked {
		k.tell(exited, 0)
		k.state = supervisor.StateIdle
		if k.want {
			k.state = supervisor.StateWaiting
		}
		k.tell(supervisor.EventStopped, 0)
		k.released("ok")
		return
	}
	restart := k.plan.Spec.Restart
	over := func(st supervisor.State, kind supervisor.EventKind) {
		k.want, k.gated, k.state = false, false, st
		k.tell(exited, 0)
		tellAll(&k.ends, "ok")
		k.tell(kind, 0)
	}
	switch {
	case how == terminate:
		over(supervisor.StateEnded, supervisor.EventEnded)
		s.shutdown(terminate, "other")
	case how == final, how == succeeds && restart != supervisor.Permanent,
		restart == supervisor.Temporary && (!early || k.trial == ""):
		k.final = how == final
		over(supervisor.StateEnded, supervisor.EventEnded)
		tellAll(&k.starts, "ok")
		if k.plan.Spec.Significant && (s.plan.Auto == supervisor.AnySignificant || !slices.ContainsFunc(s.kids, func(o *mKid) bool {
			return o.plan.Spec.Significant && o.want
		})) {
			s.shutdown(succeeds, "ok")
		}
		k.forget()
	case early && k.trial != "":
		st := supervisor.StateEnded
		if k.trial == "restart terminated" {
			st = supervisor.StateIdle
		}
		over(st, supervisor.EventEnded)
		tellAll(&k.starts, "start error")
		switch k.trial {
		case "serve":
			if how != hosts {
				how = errs
			}
			s.shutdown(how, "start error")
		case "add":
			s.remove(k)
		}
	default:
		s.failed(k, how, exited)
	}
}

func (s *mSup) failed(k *mKid, how outcome, exited supervisor.EventKind) {
	step := &k.host
	if how != hosts {
		step, k.host = &k.step, 0
		limit := s.plan.Limit
		if limit.Within == 0 {
			limit.Within = time.Minute
		}
		if limit.MaxRestarts != 0 {
			s.failures = append(s.failures, s.now)
			recent := 0
			for _, f := range s.failures {
				if s.now-f <= limit.Within {
					recent++
				}
			}
			if recent > max(limit.MaxRestarts, 0) {
				tellAll(&k.starts, "start error")
				k.want, k.gated, k.state = false, false, supervisor.StateGaveUp
				k.tell(exited, 0)
				k.tell(supervisor.EventGaveUp, 0)
				s.shutdown(errs, "intensity")
				return
			}
		}
	}
	delay := delayAt(normalized(k.plan.Spec.Backoff), *step)
	*step++
	k.want, k.again = true, true
	k.state = supervisor.StateBackoff
	k.tell(exited, 0)
	k.tell(supervisor.EventBackingOff, delay)
	tellAll(&k.starts, "start error")
	if s.plan.Strategy != supervisor.OneForOne {
		k.gated = true
		seen := s.plan.Strategy == supervisor.OneForAll
		for _, o := range s.kids {
			if o == k {
				seen = true
			} else if seen {
				o.pull()
			}
		}
	}
	k.nextTry = s.now + delay
	generation := k.generation
	again := func() {
		if k.state == supervisor.StateBackoff && k.generation == generation {
			k.goOn()
		}
	}
	if delay == 0 {
		again()
	} else {
		s.after(delay, again)
	}
}

// goOn ends a delay.
func (k *mKid) goOn() {
	k.state = supervisor.StateWaiting
	if !k.gated {
		k.start()
	}
}

func (k *mKid) pull() {
	switch {
	case k.running():
		k.halt = true
		if k.plan.Spec.Restart == supervisor.Temporary {
			k.want = false
		}
	case k.state == supervisor.StateEnded && !k.final && k.plan.Spec.Restart != supervisor.Temporary:
		k.state, k.want, k.trial = supervisor.StateWaiting, true, ""
	}
	if k.want {
		k.gated, k.again = true, true
		if strings.HasPrefix(k.trial, "restart") {
			k.trial = ""
		}
	}
}

func (k *mKid) released(answer string) {
	tellAll(&k.ends, answer)
	if !k.want {
		tellAll(&k.starts, supervisor.ErrTerminated.Error())
	}
	k.forget()
}

func (k *mKid) forget() {
	if (k.sup.plan.Pool || k.plan.Spec.Restart == supervisor.Temporary && !k.keep) && !k.want && k.sup.phase != "stopping" {
		k.sup.drop(k)
	}
}

func (s *mSup) drop(k *mKid) {
	s.kids = slices.DeleteFunc(s.kids, func(o *mKid) bool { return o == k })
	k.gone = true
	k.tell(supervisor.EventDeleted, 0)
}

func (s *mSup) remove(k *mKid) {
	s.drop(k)
	s.kept = slices.DeleteFunc(s.kept, func(o *mKid) bool { return o == k })
}

func (s *mSup) shutdown(cause outcome, is string) {
	if s.phase != "starting" && s.phase != "up" {
		return
	}
	s.phase, s.cause, s.causeIs = "stopping", cause, is
	for _, k := range s.kids {
		k.want, k.gated = false, false
		tellAll(&k.starts, supervisor.ErrNotServed.Error())
		switch {
		case k.running():
			k.halt = true
		case k.state == supervisor.StateBackoff:
			k.state = supervisor.StateIdle
			k.tell(supervisor.EventStopped, 0)
		case k.state == supervisor.StateWaiting:
			k.state = supervisor.StateIdle
		}
	}
}

func (s *mSup) finish() {
	s.phase = "idle"
	s.kept = slices.DeleteFunc(s.kept, func(k *mKid) bool { return k.trial == "add" })
	for _, k := range slices.Clone(s.kids) {
		if !slices.Contains(s.kept, k) {
			s.drop(k)
		}
	}
	if s.kid == nil {
		s.over, s.err = true, fmt.Sprintf("%v: %s", s.now, s.causeIs)
		return
	}
	s.kid.sup.endRun(s.kid.run, s.cause)
}

// forgive forgets the failures before the run that is over, or abandoned, if
// that was stable.
func (k *mKid) forgive() {
	b := normalized(k.plan.Spec.Backoff)
	if k.readyAt >= 0 && b.ResetAfter > 0 && k.sup.now-k.readyAt >= b.ResetAfter {
		k.step, k.host = 0, 0
	}
	k.readyAt = -1
}
