package dispatch

import "context"

// Waiters returns how many wait for the end of a run.
func (d *Dispatcher) Waiters(ctx context.Context) (int, error) {
	return ask(ctx, d, func() (int, error) {
		n := 0
		for _, waiters := range d.awaited {
			n += len(waiters)
		}
		return n, nil
	})
}
