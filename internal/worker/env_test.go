package worker_test

import (
	"slices"
	"testing"

	"github.com/poppobuilder/poppobuilder/internal/worker"
	"github.com/poppobuilder/poppobuilder/procworker/ipc"
)

// What a run is found by when its worker is dead is not the project's to change.
func TestProjectCannotTakeTheMarksAway(t *testing.T) {
	t.Parallel()
	inherited := []string{"POPPOBUILDER_KEEPER=k", "POPPOBUILDER_SPAWN=s", "A=worker's"}
	got := worker.Environment(inherited, 3, ipc.RunSpec{Dir: "/", Env: map[string]string{
		"POPPOBUILDER_KEEPER": "", "POPPOBUILDER_SPAWN": "x", "A": "project's",
	}})
	slices.Sort(got)
	want := []string{"A=project's", "POPPOBUILDER_KEEPER=k", "POPPOBUILDER_SPAWN=s", "POPPOBUILDER_WORKER_ID=3", "PWD=/"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
