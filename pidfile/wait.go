package pidfile

import (
	"context"
	"time"
)

// pollEvery is how often Wait looks where nothing wakes it.
const pollEvery = 100 * time.Millisecond

// pause returns after d, or with ctx.Err() when ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
