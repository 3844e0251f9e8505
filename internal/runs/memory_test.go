package runs_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/poppobuilder/poppobuilder/internal/runs"
)

func TestLifeOfARun(t *testing.T) {
	t.Parallel()
	m := runs.NewMemory(0)
	run, err := m.Enqueue(runs.Request{Project: "shop", Reason: runs.Manual})
	if err != nil || run.State != runs.Queued || run.Attempt != 1 || run.Origin != run.ID {
		t.Fatalf("enqueued %+v, %v", run, err)
	}
	if run, err = m.Claim(run.ID, 3); err != nil || run.State != runs.Running || *run.Worker != 3 || run.StartedAt.IsZero() {
		t.Fatalf("claimed %+v, %v", run, err)
	}
	if run, err = m.Started(run.ID, 4711, nil); err != nil || run.PID != 4711 {
		t.Fatalf("started %+v, %v", run, err)
	}
	code := 1
	ended, next, err := m.Finish(run.ID, runs.Failed, runs.Exit{ExitCode: &code}, &runs.Request{
		Project: "shop", Reason: runs.Retry, Origin: run.Origin, Attempt: 2, Failures: 1,
	})
	if err != nil || ended.State != runs.Failed || *ended.ExitCode != 1 || ended.FinishedAt.IsZero() {
		t.Fatalf("finished %+v, %v", ended, err)
	}
	if next == nil || next.Origin != run.ID || next.Attempt != 2 || next.State != runs.Queued {
		t.Fatalf("next is %+v", next)
	}
	if got := m.List(runs.Filter{Project: "shop"}); len(got) != 2 || got[0].ID != next.ID {
		t.Errorf("list is %+v, want the newest first", got)
	}
	if got := m.Unfinished(); len(got) != 1 || got[0].ID != next.ID {
		t.Errorf("unfinished are %+v", got)
	}
}

func TestRunsByHand(t *testing.T) {
	t.Parallel()
	m := runs.NewMemory(0)
	due, _ := m.Enqueue(runs.Request{Project: "p", Reason: runs.Schedule})
	asked, _ := m.Enqueue(runs.Request{Project: "p", Reason: runs.Manual})
	goesOn, _ := m.Enqueue(runs.Request{Project: "p", Reason: runs.Retry, Origin: asked.ID, ByHand: asked.ByHand})
	if due.ByHand || !asked.ByHand || !goesOn.ByHand {
		t.Errorf("by hand are: the scheduled one %t, the manual one %t, its retry %t", due.ByHand, asked.ByHand, goesOn.ByHand)
	}
	if due, err := m.Expedite(due.ID); err != nil || !due.ByHand {
		t.Errorf("expedited %+v, %v", due, err)
	}
}

func TestImpossibleChangesAreRefused(t *testing.T) {
	t.Parallel()
	queued := func(m *runs.Memory) string {
		run, _ := m.Enqueue(runs.Request{Project: "p"})
		return run.ID
	}
	running := func(m *runs.Memory) string {
		id := queued(m)
		_, _ = m.Claim(id, 0)
		return id
	}
	ended := func(m *runs.Memory) string {
		id := running(m)
		_, _, _ = m.Finish(id, runs.Succeeded, runs.Exit{}, nil)
		return id
	}
	for _, tt := range []struct {
		name string
		from func(*runs.Memory) string
		do   func(*runs.Memory, string) error
		want error
	}{
		{"claim twice", running, claim, runs.ErrTransition},
		{"claim what ended", ended, claim, runs.ErrTransition},
		{"start what waits", queued, started, runs.ErrTransition},
		{"expedite what runs", running, expedite, runs.ErrTransition},
		{"succeed without running", queued, finish(runs.Succeeded), runs.ErrTransition},
		{"cancel what waits", queued, finish(runs.Cancelled), nil},
		{"finish twice", ended, finish(runs.Failed), runs.ErrTransition},
		{"finish in a state that is not final", running, finish(runs.Queued), runs.ErrTransition},
		{"claim the unknown", unknown, claim, runs.ErrNotFound},
		{"finish the unknown", unknown, finish(runs.Failed), runs.ErrNotFound},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := runs.NewMemory(0)
			if err := tt.do(m, tt.from(m)); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

func unknown(*runs.Memory) string { return "0000" }

func claim(m *runs.Memory, id string) error { _, err := m.Claim(id, 0); return err }

func started(m *runs.Memory, id string) error { _, err := m.Started(id, 1, nil); return err }

func expedite(m *runs.Memory, id string) error { _, err := m.Expedite(id); return err }

func finish(s runs.State) func(*runs.Memory, string) error {
	return func(m *runs.Memory, id string) error {
		_, _, err := m.Finish(id, s, runs.Exit{}, nil)
		return err
	}
}

func TestHistoryIsBounded(t *testing.T) {
	t.Parallel()
	m := runs.NewMemory(2)
	var ids []string
	for range 4 {
		run, _ := m.Enqueue(runs.Request{Project: "p"})
		_, _, _ = m.Finish(run.ID, runs.Cancelled, runs.Exit{}, nil)
		ids = append(ids, run.ID)
	}
	waiting, _ := m.Enqueue(runs.Request{Project: "p"})
	if got := m.List(runs.Filter{}); len(got) != 3 || got[0].ID != waiting.ID || got[2].ID != ids[2] {
		t.Errorf("kept %+v, want the two that ended last and the one that waits", got)
	}
	if _, err := m.Get(ids[0]); !errors.Is(err, runs.ErrNotFound) {
		t.Errorf("the oldest run: %v", err)
	}
	if got := m.List(runs.Filter{Limit: 1}); len(got) != 1 || got[0].ID != waiting.ID {
		t.Errorf("the newest one: %+v", got)
	}
}

// Ids sort in the order of queueing, whatever the wall clock does.
func TestIDsSort(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		pauses := rapid.SliceOfN(rapid.IntRange(0, 3), 1, 50).Draw(rt, "pauses in ms")
		synctest.Test(t, func(t *testing.T) {
			m := runs.NewMemory(0)
			last := ""
			for _, ms := range pauses {
				time.Sleep(time.Duration(ms) * time.Millisecond)
				run, _ := m.Enqueue(runs.Request{Project: "p"})
				if run.ID <= last || len(run.ID) != 12 {
					t.Fatalf("%q after %q", run.ID, last)
				}
				last = run.ID
			}
		})
	})
}
