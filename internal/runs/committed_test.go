package runs_test

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/poppobuilder/poppobuilder/internal/runs"
)

// Others are told only what a daemon that is killed now would still know.
func TestCommitted(t *testing.T) {
	t.Parallel()
	var refused error
	db := openStore(t, filepath.Join(t.TempDir(), "runs.db"), runs.Options{
		NoSync: true,
		Fault:  func(string) error { return refused },
	})
	told := db.Committed()
	check := func(when, id string, want runs.State) {
		t.Helper()
		run, err := told.Get(id)
		if want == "" != errors.Is(err, runs.ErrNotFound) || run.State != want {
			t.Errorf("%s: got %q, %v, want %q", when, run.State, err, want)
		}
		list := told.List(runs.Filter{})
		if want == "" != (len(list) == 0) || len(list) > 0 && list[0].State != want {
			t.Errorf("%s: listed %+v, want %q", when, list, want)
		}
	}
	run, err := db.Enqueue(runs.Request{Project: "p"})
	if err != nil {
		t.Fatal(err)
	}
	check("enqueued", run.ID, "")
	commit(t, db)
	check("and committed", run.ID, runs.Queued)
	if _, err := db.Expedite(run.ID); err != nil {
		t.Fatal(err)
	}
	if got, _ := told.Get(run.ID); got.ByHand {
		t.Errorf("before it is on disk: %+v", got)
	}
	if _, err := db.Claim(run.ID, 1); err != nil {
		t.Fatal(err)
	}
	check("claimed", run.ID, runs.Queued)
	commit(t, db)
	check("and committed", run.ID, runs.Running)
	if _, err := db.Started(run.ID, 42, nil); err != nil {
		t.Fatal(err)
	}
	if got, _ := told.Get(run.ID); got.PID != 42 { // a hint may be lost
		t.Errorf("a started run: %+v", got)
	}
	if _, _, err := db.Finish(run.ID, runs.Succeeded, runs.Exit{}, nil); err != nil {
		t.Fatal(err)
	}
	check("finished", run.ID, runs.Running)
	if got, _ := told.Get(run.ID); got.PID != 42 {
		t.Errorf("a run whose end is not on disk: %+v", got)
	}
	refused = errors.New("no room")
	if err := db.Commit(); err == nil {
		t.Error("committed")
	}
	check("finished, and the disk takes nothing", run.ID, runs.Succeeded)
	refused = nil
	commit(t, db)
	check("and committed", run.ID, runs.Succeeded)
}
