package supervisor_test

import (
	"context"
	"testing"

	"github.com/poppobuilder/poppobuilder/supervisor"
)

// From the end of a run to the next start, without a delay. "bare" calls the
// same function in a new goroutine each time, and waits for it; the difference
// is what restarting costs.
func BenchmarkRestart(b *testing.B) {
	b.Run("bare", func(b *testing.B) {
		ends := make(chan error, 1)
		for b.Loop() {
			go func() { ends <- errBoom }()
			<-ends
		}
	})
	bench := func(queues int) func(b *testing.B) {
		return func(b *testing.B) {
			b.ReportAllocs()
			n := 0
			r := supervisor.NewRestarter(supervisor.ServiceFunc(func(context.Context) error {
				if n++; n > b.N {
					return supervisor.ErrDoNotRestart
				}
				return errBoom
			}), supervisor.Options{Backoff: supervisor.Backoff{InitialDelay: -1}})
			for range queues {
				defer r.Subscribe(16).Close()
			}
			r.Serve(b.Context())
		}
	}
	b.Run("restarter", bench(0))
	b.Run("restarter with a subscription", bench(1))
}

func BenchmarkStatus(b *testing.B) {
	b.ReportAllocs()
	r := supervisor.NewRestarter(supervisor.ServiceFunc(func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}), supervisor.Options{})
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- r.Serve(ctx) }()
	for b.Loop() {
		_ = r.Status()
	}
	cancel()
	<-done
}
