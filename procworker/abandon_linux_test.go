package procworker_test

import (
	"errors"
	"io/fs"
	"testing"

	"github.com/poppobuilder/poppobuilder/procworker"
)

// A start that fails leaves no cgroup, no socket and no pipe.
func TestFailedStartLeavesNothing(t *testing.T) {
	t.Parallel()
	c := cgroups(t)
	w := &procworker.Worker{
		Command: []string{"/no/such/program"}, Dir: t.TempDir(), IPC: true, Notify: true, Cgroups: c, Stdout: &lockedBuffer{},
	}
	if err := serve(t, w).end(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Serve = %v, want one that is fs.ErrNotExist", err)
	}
	if left := entries(t, c.Path()); len(left) > 0 {
		t.Errorf("cgroups left: %v", left)
	}
}
