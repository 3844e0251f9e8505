package pidfile

import (
	"context"
	"time"
)

// WaitLooking is Wait where the kernel refuses to watch.
func WaitLooking(ctx context.Context, path string) error {
	w := newWatch()
	defer w.close()
	w.giveUp()
	return wait(ctx, path, w)
}

// WaitTold is Wait that does not look before the kernel has told it something.
func WaitTold(ctx context.Context, path string) error {
	w := newWatch()
	defer w.close()
	w.next = time.Hour
	return wait(ctx, path, w)
}
