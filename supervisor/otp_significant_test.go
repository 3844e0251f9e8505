package supervisor_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/poppobuilder/poppobuilder/supervisor"
)

var (
	everyStrategy = []supervisor.Strategy{supervisor.OneForOne, supervisor.OneForAll, supervisor.RestForOne}
	everyAuto     = []supervisor.AutoShutdown{supervisor.Never, supervisor.AnySignificant, supervisor.AllSignificant}
)

// The end of a child that is not significant never ends its supervisor, however
// it comes about.
func TestOTPNonsignificant(t *testing.T) {
	cases := map[string]func(*testing.T){}
	for _, auto := range everyAuto {
		for _, restart := range everyRestart[1:] {
			cases[fmt.Sprintf("%v/%v", auto, restart)] = func(t *testing.T) {
				s := newStage(t)
				sup := newSupervisor(t, supervisor.SupervisorOptions{AutoShutdown: auto})
				run := serve(t, sup)
				synctest.Wait()
				sp := spec(s.actor("a"))
				sp.Restart = restart
				for _, end := range []func() error{explode, returns(errBoom), returns(nil)} {
					if restart == supervisor.Temporary || states(sup) == "" {
						is(t, "Add", sup.Add(t.Context(), sp))
					}
					s.ends("a", end)
				}
				if restart == supervisor.Transient {
					in(t, sup, "a:ended")
					is(t, "Restart", sup.Restart(t.Context(), "a"))
				} else {
					is(t, "Add", sup.Add(t.Context(), sp))
				}
				is(t, "Terminate", sup.Terminate(t.Context(), "a"))
				if got := sup.Status().State; got != supervisor.StateReady {
					t.Errorf("the supervisor is %v, want ready", got)
				}
				run.stop(t)
			}
		}
	}
	under(t, cases)
}

// Significant children that stop because a sibling failed do not end their
// supervisor, and neither does a failure.
func TestOTPSignificantBystander(t *testing.T) {
	cases := map[string]func(*testing.T){}
	for _, st := range everyStrategy {
		for _, auto := range everyAuto[1:] {
			cases[fmt.Sprintf("%v/%v", st, auto)] = func(t *testing.T) {
				s := newStage(t)
				specs := s.specs("a", "b", "c")
				for i := range specs {
					specs[i].Restart, specs[i].Significant = supervisor.Transient, i != 1
				}
				sup := newSupervisor(t, supervisor.SupervisorOptions{Strategy: st, AutoShutdown: auto, Children: specs})
				run := serve(t, sup)
				s.saw("+a a! +b b! +c c!")
				s.ends("b", explode)
				s.saw(map[supervisor.Strategy]string{
					supervisor.OneForOne:  "-b +b b!",
					supervisor.OneForAll:  "-b -c -a +a a! +b b! +c c!",
					supervisor.RestForOne: "-b -c +b b! +c c!",
				}[st])
				in(t, sup, "a:ready b:ready c:ready")
				run.stop(t)
			}
		}
	}
	under(t, cases)
}

func TestOTPSignificantRestOfSuite(t *testing.T) {
	significant := func(s *stage, restart supervisor.Restart, name string, acts ...act) supervisor.Spec {
		sp := spec(s.actor(name, acts...))
		sp.Restart, sp.Significant = restart, true
		return sp
	}
	under(t, map[string]func(*testing.T){
		"up the tree, but not into the significant": func(t *testing.T) {
			s := newStage(t)
			inner := newSupervisor(t, supervisor.SupervisorOptions{
				Name: "inner", AutoShutdown: supervisor.AnySignificant,
				Children: []supervisor.Spec{significant(s, supervisor.Transient, "x")},
			})
			sup := newSupervisor(t, supervisor.SupervisorOptions{
				AutoShutdown: supervisor.AnySignificant,
				Children:     []supervisor.Spec{{Service: inner, Restart: supervisor.Transient}},
			})
			run := serve(t, sup)
			synctest.Wait()
			s.ends("x", returns(nil))
			in(t, sup, "inner:ended")
			run.stop(t)
		},
		"a permanent supervisor that has shut down is started again": func(t *testing.T) {
			s := newStage(t)
			inner := newSupervisor(t, supervisor.SupervisorOptions{
				Name: "inner", AutoShutdown: supervisor.AnySignificant,
				Children: []supervisor.Spec{significant(s, supervisor.Transient, "x")},
			})
			sup := newSupervisor(t, supervisor.SupervisorOptions{Children: []supervisor.Spec{spec(inner)}})
			run := serve(t, sup)
			synctest.Wait()
			s.ends("x", returns(nil))
			s.saw("+x x! -x +x x!")
			run.stop(t)
		},
		"all: one was terminated by hand": func(t *testing.T) {
			s := newStage(t)
			sup := newSupervisor(t, supervisor.SupervisorOptions{AutoShutdown: supervisor.AllSignificant, Children: []supervisor.Spec{
				significant(s, supervisor.Transient, "a"), significant(s, supervisor.Transient, "b"),
			}})
			run := serve(t, sup)
			synctest.Wait()
			is(t, "Terminate", sup.Terminate(t.Context(), "a"))
			s.ends("b", returns(nil)) // the last one that runs
			is(t, "Serve", run.wait())
		},
		"all: one waits for its restart": func(t *testing.T) {
			s := newStage(t)
			slow := significant(s, supervisor.Transient, "a")
			slow.Backoff = supervisor.Backoff{}
			sup := newSupervisor(t, supervisor.SupervisorOptions{AutoShutdown: supervisor.AllSignificant, Children: []supervisor.Spec{
				slow, significant(s, supervisor.Transient, "b"),
			}})
			run := serve(t, sup)
			synctest.Wait()
			s.ends("a", returns(errBoom))
			s.ends("b", returns(nil))
			in(t, sup, "a:backoff b:ended")
			sleep(time.Second)
			s.ends("a", returns(nil))
			is(t, "Serve", run.wait())
		},
		"before it is ready": func(t *testing.T) {
			s := newStage(t)
			sup := newSupervisor(t, supervisor.SupervisorOptions{AutoShutdown: supervisor.AnySignificant, Children: append(
				s.specs("a"), significant(s, supervisor.Transient, "b", act{ready: -1, end: returns(nil)}), s.specs("c")[0],
			)})
			is(t, "Serve", sup.Serve(t.Context()))
			s.saw("+a a! +b -b -a")
		},
	})
}
