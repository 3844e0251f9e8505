//go:build !linux

package pidfile

import "context"

// watch looks at regular intervals.
type watch struct{}

func newWatch() *watch { return &watch{} }

func (*watch) aim(string) {}

func (*watch) sleep(ctx context.Context) error { return pause(ctx, pollEvery) }

func (*watch) close() {}
