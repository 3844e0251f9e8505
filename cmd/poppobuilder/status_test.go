package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/poppobuilder/poppobuilder/internal/api"
)

// The lines that scripts rely on come first, whatever the daemon is doing.
func TestWriteStatus(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	writeStatus(&b, &api.Status{
		PID:     12345,
		State:   api.StateStopping,
		Workers: []api.Worker{{ID: 0, PID: 12346, Uptime: 3600, State: api.WorkerStopping, Project: "shop"}},
		Queue:   api.Queue{Running: 1},
	})
	want := `Daemon is running (PID: 12345)
Workers:
  Worker 0: PID 12346, Uptime: 3600s, Restarts: 0, State: stopping, Project: shop
Queue: 0 queued, 1 running
Daemon is stopping
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
}
