package runs_test

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/poppobuilder/poppobuilder/internal/logs"
	"github.com/poppobuilder/poppobuilder/internal/runs"
)

// A model is what a store ought to be: all runs by id, now and as they would be
// after a commit that fails.
type model struct {
	now, kept map[string]runs.Run
	ended     []string // in the order of their ends
	trouble   bool
}

var finals = []runs.State{runs.Succeeded, runs.Failed, runs.TimedOut, runs.Cancelled, runs.Interrupted, runs.Preempted}

// The durable store does what the model does, whatever comes in whatever order,
// commits that fail and a store that is opened again included.
func TestStoreIsLikeItsModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		path := filepath.Join(t.TempDir(), "runs.db")
		fail := ""
		open := func() *runs.DB {
			db, err := runs.Open(path, runs.Options{NoSync: true, Fault: func(point string) error {
				if point == fail {
					return errors.New("no room")
				}
				return nil
			}})
			if err != nil {
				rt.Fatal(err)
			}
			if h := db.Health(); h.Rescue != nil {
				rt.Fatalf("the file was set aside: %+v", h.Rescue)
			}
			return db
		}
		db := open()
		defer func() { _ = db.Close() }()
		m := &model{now: map[string]runs.Run{}, kept: map[string]runs.Run{}}
		id := func(rt *rapid.T) string {
			ids := []string{"0000"}
			for id := range m.now {
				ids = append(ids, id)
			}
			slices.Sort(ids)
			return rapid.SampledFrom(ids).Draw(rt, "id")
		}
		project := rapid.SampledFrom([]string{"a", "ab", "b"})
		// took compares an error with what the model expects: for each state the
		// changes that are possible.
		took := func(run runs.Run, err error, id string, refusable bool, from ...runs.State) bool {
			before, known := m.now[id]
			var want error
			switch {
			case refusable && m.trouble:
				if _, ok := errors.AsType[*runs.WriteError](err); !ok {
					rt.Fatalf("while nothing can be written: %v", err)
				}
				return false
			case !known:
				want = runs.ErrNotFound
			case !slices.Contains(from, before.State):
				want = runs.ErrTransition
			}
			if !errors.Is(err, want) {
				rt.Fatalf("run %s in %s: %v, want %v", id, before.State, err, want)
			}
			if err == nil {
				m.now[id] = run
			}
			return err == nil
		}
		rt.Repeat(map[string]func(*rapid.T){
			"enqueue": func(rt *rapid.T) {
				run, err := db.Enqueue(runs.Request{Project: project.Draw(rt, "project"), Reason: runs.Manual, Args: []string{"x"}})
				if m.trouble != (err != nil) {
					rt.Fatalf("enqueue: %v", err)
				}
				if err == nil {
					m.now[run.ID] = run
				}
			},
			"expedite": func(rt *rapid.T) {
				id := id(rt)
				run, err := db.Expedite(id)
				took(run, err, id, true, runs.Queued)
			},
			"claim": func(rt *rapid.T) {
				id := id(rt)
				run, err := db.Claim(id, 3)
				took(run, err, id, true, runs.Queued)
			},
			"start": func(rt *rapid.T) {
				id := id(rt)
				log := rapid.SampledFrom([]*runs.LogRange{nil, {From: logs.Position{File: 2, Offset: 9}}}).Draw(rt, "log")
				run, err := db.Started(id, 4711, log)
				if took(run, err, id, false, runs.Running) {
					if run.Log != log {
						rt.Fatalf("log of %+v, want %+v", run, log)
					}
					if kept := m.kept[id]; kept.State == runs.Running {
						kept.PID, kept.Log = 4711, log
						m.kept[id] = kept
					}
				}
			},
			"finish": func(rt *rapid.T) {
				id, state := id(rt), rapid.SampledFrom(finals).Draw(rt, "state")
				from := []runs.State{runs.Running}
				if state == runs.Cancelled {
					from = append(from, runs.Queued)
				}
				var next *runs.Request
				if rapid.Bool().Draw(rt, "again") {
					next = &runs.Request{Project: m.now[id].Project, Origin: m.now[id].Origin, Attempt: m.now[id].Attempt + 1, Reason: runs.Retry}
				}
				code := 1
				began := m.now[id].Log
				log := rapid.SampledFrom([]*runs.LogRange{nil, {To: &logs.Position{File: 3}}}).Draw(rt, "log")
				ended, queued, err := db.Finish(id, state, runs.Exit{ExitCode: &code, Error: "x", Log: log}, next)
				if !took(ended, err, id, false, from...) {
					return
				}
				if want := cmp.Or(log, began); !reflect.DeepEqual(ended.Log, want) { // it may have been read again
					rt.Fatalf("log of %+v, want %+v", ended, want)
				}
				if (queued != nil) != (next != nil) {
					rt.Fatalf("next is %+v", queued)
				}
				m.ended = append(m.ended, id)
				_, accepted := m.kept[id]
				if accepted {
					m.kept[id] = ended
				}
				if queued != nil {
					m.now[queued.ID] = *queued
					if accepted {
						m.kept[queued.ID] = *queued
					}
				}
			},
			"commit": func(rt *rapid.T) {
				fail = rapid.SampledFrom([]string{"", "", "write", "written"}).Draw(rt, "fault")
				defer func() { fail = "" }()
				m.committed(db.Commit(), rt)
			},
			"reopen": func(rt *rapid.T) {
				if err := db.Close(); err != nil {
					rt.Fatal(err)
				}
				m.committed(nil, rt)
				db = open()
			},
			"": func(rt *rapid.T) { m.compare(rt, db) },
		})
	})
}

// committed is what a commit does.
func (m *model) committed(err error, rt *rapid.T) {
	if err == nil {
		m.kept = maps(m.now)
		m.trouble = false
		return
	}
	if _, ok := errors.AsType[*runs.WriteError](err); !ok {
		rt.Fatalf("commit: %v", err)
	}
	m.now = maps(m.kept)
	m.trouble = true
	m.ended = slices.DeleteFunc(m.ended, func(id string) bool { _, ok := m.now[id]; return !ok })
}

func maps(m map[string]runs.Run) map[string]runs.Run {
	c := make(map[string]runs.Run, len(m))
	for id, run := range m {
		c[id] = run
	}
	return c
}

// list is what the filter selects.
func (m *model) list(f runs.Filter) []runs.Run {
	list := []runs.Run{}
	for _, run := range m.now {
		if (f.Project == "" || f.Project == run.Project) && (f.State == "" || f.State == run.State) {
			list = append(list, run)
		}
	}
	slices.SortFunc(list, func(a, b runs.Run) int { return cmp.Compare(b.ID, a.ID) })
	if f.Limit > 0 && len(list) > f.Limit {
		list = list[:f.Limit]
	}
	return list
}

// compare finds differences between a store and its model.
func (m *model) compare(rt *rapid.T, db *runs.DB) {
	same := func(what string, got, want any) {
		rt.Helper()
		if diff := gocmp.Diff(want, got, gocmp.Comparer(time.Time.Equal)); diff != "" {
			rt.Fatalf("%s (-model +store):\n%s", what, diff)
		}
	}
	for _, f := range []runs.Filter{{}, {Limit: 2}, {Project: "a"}, {State: runs.Failed}, {State: runs.Queued}, {Project: "ab", State: runs.Cancelled}, {Project: "a", Limit: 1}, {State: runs.Running, Limit: 1}} {
		got := db.List(f)
		if len(got) == 0 {
			got = []runs.Run{}
		}
		same(fmt.Sprintf("list %+v", f), got, m.list(f))
	}
	for id, want := range m.now {
		got, err := db.Get(id)
		if err != nil {
			rt.Fatal(err)
		}
		same("run "+id, got, want)
	}
	want := slices.DeleteFunc(m.list(runs.Filter{}), func(run runs.Run) bool { return run.State.Final() })
	slices.Reverse(want)
	got := db.Unfinished()
	if len(got) == 0 {
		got = []runs.Run{}
	}
	same("unfinished", got, want)
	if (db.Health().Err != nil) != m.trouble {
		rt.Fatalf("health is %+v, in trouble: %v", db.Health(), m.trouble)
	}
}
