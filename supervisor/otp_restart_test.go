package supervisor_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/poppobuilder/poppobuilder/supervisor"
)

// A temporary child that a sibling's failure stops is not started again.
func TestOTPTemporaryBystander(t *testing.T) {
	cases := map[string]func(*testing.T){}
	for _, st := range []supervisor.Strategy{supervisor.OneForAll, supervisor.RestForOne} {
		cases[st.String()] = func(t *testing.T) {
			s := newStage(t)
			sup := newSupervisor(t, supervisor.SupervisorOptions{Strategy: st, Children: s.specs("a")})
			run := serve(t, sup)
			synctest.Wait()
			by := spec(s.actor("b"))
			by.Restart = supervisor.Temporary
			is(t, "Add", sup.Add(t.Context(), by))
			s.ends("a", returns(errBoom))
			s.saw("+a a! +b b! -a -b +a a!")
			in(t, sup, "a:ready")
			run.stop(t)
		}
	}
	under(t, cases)
}

// Failures that come one after the other, and all at once, count each.
func TestOTPMultipleRestarts(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStage(t)
		sup := newSupervisor(t, supervisor.SupervisorOptions{
			Intensity: supervisor.Intensity{MaxRestarts: 4, Within: time.Minute},
			Children:  s.specs("a", "b", "c"),
		})
		run := serve(t, sup)
		synctest.Wait()
		for _, name := range []string{"a", "b", "c", "a"} {
			s.ends(name, returns(errBoom))
		}
		in(t, sup, "a:ready b:ready c:ready")
		sleep(time.Minute + 1) // now all are forgotten
		for _, name := range []string{"c", "c", "c", "c"} {
			s.ends(name, returns(errBoom))
		}
		if got := sup.Status().Restarts; got != 8 {
			t.Errorf("%d restarts, want 8", got)
		}
		s.ends("b", returns(errShutdown))
		err := as[*supervisor.IntensityError](t, "Serve", run.wait())
		if err.Child != "b" || err.Supervisor != "supervisor" || len(err.Last) != 2 || err.Last[1] != errShutdown {
			t.Errorf("Serve = %+v, want b to be named, and its two errors", err)
		}
		if got, want := err.Error(), "supervisor gave up after 4 restarts within 1m0s: b: shutdown"; got != want {
			t.Errorf("Error() = %q, want %q", got, want)
		}
		is(t, "Serve", err, errBoom, errShutdown)
		if errors.Is(err, supervisor.ErrDoNotRestart) {
			t.Error("it wraps ErrDoNotRestart: the supervisor above could not start it again")
		}
	})
}

// A failure counts for exactly as long as the period.
func TestOTPIntensityPeriod(t *testing.T) {
	cases := map[string]func(*testing.T){}
	for _, after := range []time.Duration{time.Minute, time.Minute + 1} {
		cases[after.String()] = func(t *testing.T) {
			s := newStage(t)
			sup := newSupervisor(t, supervisor.SupervisorOptions{
				Intensity: supervisor.Intensity{MaxRestarts: 1, Within: time.Minute}, Children: s.specs("a", "b"),
			})
			run := serve(t, sup)
			synctest.Wait()
			s.ends("a", returns(errBoom))
			sleep(after)
			s.ends("b", returns(errBoom))
			if after > time.Minute {
				run.stop(t)
				return
			}
			as[*supervisor.IntensityError](t, "Serve", run.wait())
		}
	}
	under(t, cases)
}

func TestOTPRestart(t *testing.T) {
	cases := map[string]func(*testing.T){}
	for _, tt := range []struct {
		strategy supervisor.Strategy
		fails    string
		want     string
	}{
		{supervisor.OneForOne, "b", "-b +b b!"},
		{supervisor.OneForAll, "b", "-b -c -a +a a! +b b! +c c!"},
		{supervisor.OneForAll, "c", "-c -b -a +a a! +b b! +c c!"},
		{supervisor.RestForOne, "a", "-a -c -b +a a! +b b! +c c!"},
		{supervisor.RestForOne, "b", "-b -c +b b! +c c!"},
		{supervisor.RestForOne, "c", "-c +c c!"},
	} {
		for _, delayed := range []bool{false, true} {
			cases[fmt.Sprintf("%s/%s/delayed %v", tt.strategy, tt.fails, delayed)] = func(t *testing.T) {
				s := newStage(t)
				specs := s.specs("a", "b", "c")
				if delayed {
					for i := range specs {
						specs[i].Backoff = supervisor.Backoff{}
					}
				}
				sup := newSupervisor(t, supervisor.SupervisorOptions{Strategy: tt.strategy, Children: specs})
				run := serve(t, sup)
				s.saw("+a a! +b b! +c c!")
				s.ends(tt.fails, returns(errBoom))
				if delayed {
					for _, c := range sup.Status().Children {
						if c.Name == tt.fails && (c.State != supervisor.StateBackoff || troubleOf(c.Status).NextTry != time.Now().Add(time.Second)) {
							t.Errorf("%s is %v until %v, want backoff for 1 s", c.Name, c.State, troubleOf(c.Status).NextTry)
						}
					}
					sleep(time.Second)
				}
				s.saw(tt.want)
				in(t, sup, "a:ready b:ready c:ready")
				run.stop(t)
			}
		}
	}
	under(t, cases)
}

// One restart is allowed. The second failure stops what runs, in reverse order.
func TestOTPEscalation(t *testing.T) {
	cases := map[string]func(*testing.T){}
	for _, tt := range []struct {
		strategy supervisor.Strategy
		want     string
	}{
		{supervisor.OneForOne, "-b +b b! -b -c -a"},
		{supervisor.OneForAll, "-b -c -a +a a! +b b! +c c! -b -c -a"},
		{supervisor.RestForOne, "-b -c +b b! +c c! -b -c -a"},
	} {
		cases[tt.strategy.String()] = func(t *testing.T) {
			s := newStage(t)
			inner := newSupervisor(t, supervisor.SupervisorOptions{
				Name: "inner", Strategy: tt.strategy, Children: s.specs("a", "b", "c"),
				Intensity: supervisor.Intensity{MaxRestarts: 1, Within: time.Hour},
			})
			outer := newSupervisor(t, supervisor.SupervisorOptions{Name: "outer", Children: []supervisor.Spec{{Service: inner}}})
			run := serve(t, outer)
			s.saw("+a a! +b b! +c c!")
			s.ends("b", returns(errBoom))
			s.ends("b", returns(errBoom))
			s.saw(tt.want)
			in(t, outer, "inner:backoff")
			in(t, inner, "a:idle b:gave-up c:idle")
			sleep(time.Second)
			s.saw("+a a! +b b! +c c!")
			s.ends("b", returns(errBoom)) // the new Serve counts anew
			in(t, outer, "inner:ready")
			run.stop(t)
		}
	}
	under(t, cases)
}

// While a group is started again, another of it fails to start.
func TestOTPOtherChildFailsRestart(t *testing.T) {
	cases := map[string]func(*testing.T){}
	for _, tt := range []struct {
		strategy supervisor.Strategy
		want     string
	}{
		{supervisor.OneForAll, "-a -c -b +a a! +b -b -a +a a! +b b! +c c!"},
		{supervisor.RestForOne, "-a -c -b +a a! +b -b +b b! +c c!"},
	} {
		cases[tt.strategy.String()] = func(t *testing.T) {
			s := newStage(t)
			sup := newSupervisor(t, supervisor.SupervisorOptions{
				Strategy: tt.strategy, Intensity: supervisor.Intensity{MaxRestarts: 2, Within: time.Hour},
				Children: append(s.specs("a"), spec(s.actor("b", act{}, act{ready: -1, run: 1, end: returns(errBoom)})), s.specs("c")[0]),
			})
			run := serve(t, sup)
			s.saw("+a a! +b b! +c c!")
			s.ends("a", returns(errBoom))
			sleep(time.Second)
			s.saw(tt.want)
			s.ends("a", returns(errBoom)) // the third failure
			as[*supervisor.IntensityError](t, "Serve", run.wait())
		}
	}
	under(t, cases)
}
