package supervisor_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/poppobuilder/poppobuilder/supervisor"
)

// Real goroutines and a real clock: many administrators at once, and children
// that fail as fast as they can. The race detector looks on.
func TestSupervisorStress(t *testing.T) {
	t.Parallel()
	for _, st := range []supervisor.Strategy{supervisor.OneForOne, supervisor.OneForAll, supervisor.RestForOne} {
		t.Run(st.String(), func(t *testing.T) {
			t.Parallel()
			var specs []supervisor.Spec
			for i := range 6 {
				specs = append(specs, frantic(t, fmt.Sprint(i)))
			}
			sup := newSupervisor(t, supervisor.SupervisorOptions{Strategy: st, Children: specs})
			events := sup.Subscribe(1)
			defer events.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second) // a guard against hanging
			defer cancel()
			run := serve(t, sup)
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					for range 300 {
						name := fmt.Sprint(rand.IntN(8))
						switch rand.IntN(5) {
						case 0:
							sup.Add(ctx, frantic(t, name))
						case 1:
							sup.Terminate(ctx, name)
						case 2:
							sup.Restart(ctx, name)
						case 3:
							sup.Delete(name)
						case 4:
							_ = sup.Status().String()
							_ = sup.Abandoned()
						}
					}
				})
			}
			wg.Wait()
			if ctx.Err() != nil {
				t.Error("an administrator waits for ever")
			}
			run.stop(t)
			if got := sup.Abandoned(); got != nil {
				t.Errorf("abandoned: %v", got)
			}
		})
	}
}

// frantic is a child that fails after a few steps of the scheduler, or never. It
// fails the test if it runs twice at a time.
func frantic(t *testing.T, name string) supervisor.Spec {
	var active atomic.Int32
	svc := readyFunc(func(ctx context.Context, ready func()) error {
		if active.Add(1) != 1 {
			t.Errorf("%s was started while it runs", name)
		}
		defer active.Add(-1)
		switch rand.IntN(20) {
		case 0:
			return errBoom
		case 1:
			panic("oh")
		}
		ready()
		if rand.IntN(3) == 0 {
			<-ctx.Done()
			return ctx.Err()
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(rand.IntN(200)) * time.Microsecond):
		}
		return errors.Join(errBoom)
	})
	return supervisor.Spec{
		Name: name, Service: svc, Background: true, Shutdown: supervisor.Infinite,
		Backoff: supervisor.Backoff{InitialDelay: time.Microsecond, MaxDelay: 100 * time.Microsecond},
	}
}
