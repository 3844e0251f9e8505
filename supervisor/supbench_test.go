package supervisor_test

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"

	"cirello.io/oversight/v2"
	"github.com/poppobuilder/poppobuilder/supervisor"
	"github.com/thejerf/suture/v4"
)

// The benchmarks come in threes, ours beside suture's and oversight's, so that
// one run compares them:
//
//	go test -run '^$' -bench 'Children|Idle|RestartChild|Status10000' ./supervisor

const manyChildren = 10_000

// waiting is a service that notes that it runs, and that it has ended.
func waiting(up, down *sync.WaitGroup) supervisor.ServiceFunc {
	return func(ctx context.Context) error {
		up.Done()
		<-ctx.Done()
		down.Done()
		return ctx.Err()
	}
}

// A many is a supervisor of any make with many children.
type many struct {
	name string
	make func(b *testing.B, svc supervisor.Service) supervisor.Service
}

func makes() []many {
	return []many{
		{"supervisor", func(b *testing.B, svc supervisor.Service) supervisor.Service {
			specs := make([]supervisor.Spec, manyChildren)
			for i := range specs {
				specs[i] = supervisor.Spec{Name: fmt.Sprint(i), Service: svc}
			}
			sup, err := supervisor.New(supervisor.SupervisorOptions{Children: specs})
			if err != nil {
				b.Fatal(err)
			}
			return sup
		}},
		{"suture", func(b *testing.B, svc supervisor.Service) supervisor.Service {
			sup := suture.New("suture", suture.Spec{EventHook: func(suture.Event) {}})
			for i := range manyChildren {
				sup.Add(named{svc, fmt.Sprint(i)})
			}
			return sup
		}},
		{"oversight", func(b *testing.B, svc supervisor.Service) supervisor.Service {
			o := overseer{oversight.New()}
			for i := range manyChildren {
				o.add(b, svc, fmt.Sprint(i))
			}
			return o
		}},
	}
}

// An overseer is an oversight tree as a service.
type overseer struct{ *oversight.Tree }

func (o overseer) Serve(ctx context.Context) error { return o.Start(ctx) }

func (o overseer) add(b *testing.B, svc supervisor.Service, name string) {
	if err := o.Add(svc.Serve, oversight.Permanent(), oversight.Natural(), name); err != nil {
		b.Fatal(err)
	}
}

type named struct {
	supervisor.Service
	name string
}

func (n named) String() string { return n.name }

// From Serve to all children running.
func BenchmarkStartChildren(b *testing.B) {
	benchChildren(b, func(b *testing.B, start, stop func()) {
		b.StartTimer()
		start()
		b.StopTimer()
		stop()
	})
}

// From the end of the context to the return of Serve.
func BenchmarkStopChildren(b *testing.B) {
	benchChildren(b, func(b *testing.B, start, stop func()) {
		start()
		b.StartTimer()
		stop()
		b.StopTimer()
	})
}

func benchChildren(b *testing.B, measure func(b *testing.B, start, stop func())) {
	for _, m := range makes() {
		b.Run(m.name, func(b *testing.B) {
			b.ReportAllocs()
			b.StopTimer()
			for range b.N {
				var up, down sync.WaitGroup
				sup := m.make(b, waiting(&up, &down))
				up.Add(manyChildren)
				down.Add(manyChildren)
				ctx, cancel := context.WithCancel(b.Context())
				done := make(chan error, 1)
				measure(b, func() {
					go func() { done <- sup.Serve(ctx) }()
					up.Wait()
				}, func() {
					cancel()
					<-done
					down.Wait()
				})
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/manyChildren, "ns/child")
		})
	}
}

// What a running child that does nothing takes, its goroutine and its stack
// included.
func BenchmarkIdleChild(b *testing.B) {
	// The runtime keeps what it needs for each goroutine for ever. Whoever comes
	// first would be charged with it.
	var warm, ended sync.WaitGroup
	warm.Add(1)
	for range 2 * manyChildren {
		ended.Go(warm.Wait)
	}
	warm.Done()
	ended.Wait()
	for _, m := range makes() {
		b.Run(m.name, func(b *testing.B) {
			var used float64
			for b.Loop() {
				var up, down sync.WaitGroup
				up.Add(manyChildren)
				down.Add(manyChildren)
				before := memory()
				sup := m.make(b, waiting(&up, &down))
				ctx, cancel := context.WithCancel(b.Context())
				done := make(chan error, 1)
				go func() { done <- sup.Serve(ctx) }()
				up.Wait()
				used += float64(memory() - before)
				cancel()
				<-done
				down.Wait()
			}
			b.ReportMetric(used/float64(b.N)/manyChildren, "B/child")
		})
	}
}

// memory is what the heap and the stacks take after a collection.
func memory() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// From the failure of a child to its next start, without a delay. "bare" calls
// the function in a new goroutine each time, and does nothing else.
func BenchmarkRestartChild(b *testing.B) {
	b.Run("bare", func(b *testing.B) {
		b.ReportAllocs()
		ends := make(chan error, 1)
		for b.Loop() {
			go func() { ends <- errBoom }()
			<-ends
		}
	})
	failing := func(b *testing.B, done chan<- struct{}) supervisor.ServiceFunc {
		n := 0
		return func(ctx context.Context) error {
			switch n++; {
			case n == 1:
				b.ResetTimer()
			case n == b.N+1:
				b.StopTimer()
				close(done)
			case n > b.N+1:
				<-ctx.Done()
			}
			return errBoom
		}
	}
	serve := func(b *testing.B, sup supervisor.Service, done <-chan struct{}) {
		b.ReportAllocs()
		ctx, cancel := context.WithCancel(b.Context())
		ended := make(chan error, 1)
		go func() { ended <- sup.Serve(ctx) }()
		<-done
		cancel()
		<-ended
	}
	for _, queues := range []int{0, 1} {
		b.Run(fmt.Sprintf("supervisor, %d subscriptions", queues), func(b *testing.B) {
			done := make(chan struct{})
			sup, err := supervisor.New(supervisor.SupervisorOptions{Children: []supervisor.Spec{{
				Name: "a", Service: failing(b, done), Backoff: supervisor.Backoff{InitialDelay: -1},
			}}})
			if err != nil {
				b.Fatal(err)
			}
			for range queues {
				defer sup.Subscribe(16).Close()
			}
			serve(b, sup, done)
		})
	}
	b.Run("suture", func(b *testing.B) {
		done := make(chan struct{})
		sup := suture.New("suture", suture.Spec{EventHook: func(suture.Event) {}, FailureThreshold: 1e300})
		sup.Add(failing(b, done))
		serve(b, sup, done)
	})
	b.Run("oversight", func(b *testing.B) {
		done := make(chan struct{})
		o := overseer{oversight.New(oversight.NeverHalt())}
		o.add(b, failing(b, done), "a")
		serve(b, o, done)
	})
}

// What a supervisor tells of its children: ours all of [supervisor.ChildStatus],
// suture the services, oversight names and states.
func BenchmarkStatus10000(b *testing.B) {
	for _, m := range makes() {
		b.Run(m.name, func(b *testing.B) {
			b.ReportAllocs()
			var up, down sync.WaitGroup
			up.Add(manyChildren)
			down.Add(manyChildren)
			sup := m.make(b, waiting(&up, &down))
			ctx, cancel := context.WithCancel(b.Context())
			done := make(chan error, 1)
			go func() { done <- sup.Serve(ctx) }()
			up.Wait()
			for b.Loop() {
				if count(sup) != manyChildren {
					b.Fatal("children are missing")
				}
			}
			cancel()
			<-done
		})
	}
}

func count(sup supervisor.Service) int {
	switch sup := sup.(type) {
	case *supervisor.Supervisor:
		return len(sup.Status().Children)
	case *suture.Supervisor:
		return len(sup.Services())
	case overseer:
		return len(sup.Children())
	default:
		return 0
	}
}
