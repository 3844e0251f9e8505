package pidfile_test

import (
	"context"
	"os"
	"testing"

	"github.com/poppobuilder/poppobuilder/pidfile"
)

var waiters = []waiter{
	{"watching", pidfile.Wait},
	{"told", pidfile.WaitTold},
	{"looking", pidfile.WaitLooking},
}

// Wait leaves no descriptor behind, whichever way it ends.
func TestWait_descriptors(t *testing.T) {
	p := path(t)
	count := func() int {
		t.Helper()
		entries, err := os.ReadDir("/proc/self/fd")
		must(t, err)
		return len(entries)
	}
	before := count()
	for range 20 {
		f := create(t, p)
		done := waiting(t, waiters[0], p)
		must(t, f.Close())
		expectDone(t, done)
		f = create(t, p)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := pidfile.Wait(ctx, p); err != context.Canceled {
			t.Errorf("got %v, want context.Canceled", err)
		}
		must(t, f.Close())
	}
	if after := count(); after > before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}
