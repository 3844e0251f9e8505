package runs_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/poppobuilder/poppobuilder/internal/runs"
)

// openStore opens a store that does not wait for the disk, and closes it at the
// end of the test.
func openStore(t testing.TB, path string, o runs.Options) *runs.DB {
	t.Helper()
	o.NoSync = true
	db, err := runs.Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func commit(t testing.TB, db *runs.DB) {
	t.Helper()
	if err := db.Commit(); err != nil {
		t.Fatal(err)
	}
}

// fill makes a history of n runs, and one that waits.
func fill(t testing.TB, db *runs.DB, n int) (waiting runs.Run) {
	t.Helper()
	code := 0
	for i := range n {
		run, err := db.Enqueue(runs.Request{Project: fmt.Sprintf("project-%d", i%7), Reason: runs.Schedule})
		if err != nil {
			t.Fatal(err)
		}
		_, err1 := db.Claim(run.ID, i%10)
		_, err2 := db.Started(run.ID, i+1, nil)
		_, _, err3 := db.Finish(run.ID, []runs.State{runs.Succeeded, runs.Failed}[i%2], runs.Exit{ExitCode: &code}, nil)
		if err := errors.Join(err1, err2, err3); err != nil {
			t.Fatal(err)
		}
		if i%50 == 0 {
			commit(t, db)
		}
	}
	waiting, err := db.Enqueue(runs.Request{Project: "project-1", Reason: runs.Manual})
	if err != nil {
		t.Fatal(err)
	}
	commit(t, db)
	return waiting
}

// seed is the content of a file of 300 runs, one of which waits.
func seed(t testing.TB) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "runs.db")
	db := openStore(t, path, runs.Options{})
	fill(t, db, 300)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// use does with a store whatever can be done, and fails if it does not work.
func use(t testing.TB, db *runs.DB) {
	t.Helper()
	list := db.List(runs.Filter{})
	for _, run := range list {
		if _, err := db.Get(run.ID); err != nil {
			t.Fatalf("get what is listed: %v", err)
		}
	}
	db.List(runs.Filter{Project: "project-1"})
	db.List(runs.Filter{State: runs.Failed, Limit: 10})
	db.Last("project-3")
	fill(t, db, 60)
	if got := len(db.List(runs.Filter{})); got != len(list)+61 {
		t.Fatalf("of %d and 61 runs there are %d", len(list), got)
	}
}

// Whatever happened to the file, the store opens and works. What was found to be
// damaged is kept.
func TestDamagedFileIsSetAside(t *testing.T) {
	whole := seed(t)
	rapid.Check(t, func(rt *rapid.T) {
		content := append([]byte(nil), whole...)
		switch rapid.SampledFrom([]string{"cut", "flip", "flip", "zero", "copy"}).Draw(rt, "damage") {
		case "cut":
			content = content[:rapid.IntRange(1, len(content)-1).Draw(rt, "length")]
		case "flip":
			for range rapid.IntRange(1, 4).Draw(rt, "bits") {
				content[rapid.IntRange(0, len(content)-1).Draw(rt, "at")] ^= 1 << rapid.IntRange(0, 7).Draw(rt, "bit")
			}
		case "zero":
			from := rapid.IntRange(0, len(content)-1).Draw(rt, "from")
			clear(content[from:min(len(content), from+rapid.IntRange(1, 9000).Draw(rt, "length"))])
		case "copy": // a write that went to the wrong place
			from := rapid.IntRange(0, len(content)-1).Draw(rt, "from") &^ 4095
			to := rapid.IntRange(0, len(content)-1).Draw(rt, "to") &^ 4095
			copy(content[to:], content[from:min(len(content), from+4096)])
		}
		examine(t, content)
	})
}

func FuzzOpen(f *testing.F) {
	whole := seed(f)
	f.Add(whole[:8192])
	f.Add(whole[:20000])
	f.Fuzz(func(t *testing.T, content []byte) { examine(t, content) })
}

// examine opens a store with this content.
func examine(t testing.TB, content []byte) {
	t.Helper()
	dir, err := os.MkdirTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "runs.db")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := runs.Open(path, runs.Options{NoSync: true})
	if _, ok := errors.AsType[*runs.FormatError](err); ok {
		return
	}
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	use(t, db)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if r := db.Health().Rescue; r != nil {
		kept, err := os.ReadFile(r.Aside)
		if err != nil || !strings.HasPrefix(filepath.Base(r.Aside), "runs.db.damaged-") || string(kept) != string(content) {
			t.Fatalf("the damaged file is kept as %s: %v", r.Aside, err)
		}
	}
	os.RemoveAll(dir)
}

func TestWhatCanBeReadOfADamagedFileIsSalvaged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "runs.db")
	db := openStore(t, path, runs.Options{})
	waiting := fill(t, db, 300)
	id := db.List(runs.Filter{State: runs.Failed})[100].ID
	_ = db.Close()
	content, _ := os.ReadFile(path)
	at := strings.LastIndex(string(content), `{"id":"`+id)
	content[at+10] ^= 1
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	db = openStore(t, path, runs.Options{})
	r := db.Health().Rescue
	if r == nil || r.Salvaged != 300 { // one is damaged, of 300 and the one that waits
		t.Fatalf("rescued %+v, want 300 of 301", r)
	}
	if got := db.Unfinished(); len(got) != 1 || got[0].ID != waiting.ID {
		t.Errorf("the queue is %+v", got)
	}
	if _, err := db.Get(id); !errors.Is(err, runs.ErrNotFound) {
		t.Errorf("the damaged one: %v", err)
	}
	if got := db.List(runs.Filter{}); len(got) != 300 {
		t.Errorf("there are %d runs", len(got))
	}
	use(t, db)
}

// A file that is cut off while it is open is replaced, and the queue with it is
// not lost.
func TestFileThatIsCutOffWhileItIsOpen(t *testing.T) {
	for _, first := range []string{"read", "write"} {
		t.Run(first, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "runs.db")
			db := openStore(t, path, runs.Options{})
			waiting := fill(t, db, 2000)
			if err := os.Truncate(path, 8192); err != nil {
				t.Fatal(err)
			}
			if first == "read" {
				db.List(runs.Filter{})
				db.Last("project-1")
			}
			next, err := db.Enqueue(runs.Request{Project: "new"})
			if err != nil {
				t.Fatal(err)
			}
			commit(t, db)
			if db.Health().Rescue == nil {
				db.List(runs.Filter{}) // a write does not have to read what is gone
				if _, err := db.Enqueue(runs.Request{Project: "new"}); err != nil {
					t.Fatal(err)
				}
				commit(t, db)
			}
			if h := db.Health(); h.Rescue == nil || h.Err != nil {
				t.Fatalf("health is %+v", h)
			}
			_ = db.Close()
			db = openStore(t, path, runs.Options{})
			if _, err := db.Get(next.ID); err != nil {
				t.Error(err)
			}
			if got, err := db.Get(waiting.ID); err != nil || got.State != runs.Queued {
				t.Errorf("what waited is %+v, %v", got, err)
			}
			if r := db.Health().Rescue; r != nil {
				t.Errorf("the new file is damaged, too: %+v", r)
			}
		})
	}
}

func TestFileOfALaterVersionIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "runs.db")
	db := openStore(t, path, runs.Options{})
	if err := runs.SetFormat(db, "2"); err != nil {
		t.Fatal(err)
	}
	_ = db.Close()
	_, err := runs.Open(path, runs.Options{})
	if e, ok := errors.AsType[*runs.FormatError](err); !ok || e.Format != "2" {
		t.Errorf("opened: %v", err)
	}
}

func TestFileIsLockedAndPrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "runs.db")
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	openStore(t, path, runs.Options{})
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if _, err := runs.Open(path, runs.Options{}); err == nil {
		t.Error("opened twice")
	} else if e, ok := errors.AsType[*runs.LockedError](err); !ok || e.Path != path {
		t.Errorf("opened twice: %v", err)
	}
}

func TestHistoryIsBoundedOnDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "runs.db")
	db := openStore(t, path, runs.Options{Limits: runs.Limits{MaxRuns: 1 << 20}})
	fill(t, db, 1700)
	db.SetLimits(runs.Limits{MaxRuns: 20})
	for range 5 { // 500 each
		commit(t, db)
	}
	list := db.List(runs.Filter{})
	if len(list) != 21 || list[20].State == runs.Queued {
		t.Fatalf("%d runs are left, want 20 and the one that waits", len(list))
	}
	if got := len(db.List(runs.Filter{State: runs.Failed})) + len(db.List(runs.Filter{State: runs.Succeeded})); got != 20 {
		t.Errorf("by state there are %d", got)
	}
	if last, ok := db.Last("project-0"); !ok || last.Project != "project-0" {
		t.Errorf("the last run of a project is %+v", last)
	}
	db.SetLimits(runs.Limits{MaxAge: time.Nanosecond})
	commit(t, db)
	if got := db.List(runs.Filter{}); len(got) != 1 {
		t.Errorf("of old runs there are %d", len(got))
	}
}

// A run that waited for long is not forgotten as soon as it has ended.
func TestHistoryKeepsWhatEndedLast(t *testing.T) {
	db := openStore(t, filepath.Join(t.TempDir(), "runs.db"), runs.Options{Limits: runs.Limits{MaxRuns: 20}})
	var patient []string
	for i := range 5 {
		run, err := db.Enqueue(runs.Request{Project: fmt.Sprint("patient-", i)})
		if err != nil {
			t.Fatal(err)
		}
		patient = append(patient, run.ID)
	}
	fill(t, db, 100)
	commit(t, db)
	for _, id := range patient {
		if _, _, err := db.Finish(id, runs.Cancelled, runs.Exit{}, nil); err != nil {
			t.Fatal(err)
		}
	}
	commit(t, db)
	for _, id := range patient {
		if _, err := db.Get(id); err != nil {
			t.Errorf("of the last that ended: %v", err)
		}
	}
	if list := db.List(runs.Filter{}); len(list) != 21 {
		t.Errorf("%d runs are left, want 20 and the one that waits", len(list))
	}
}

// A file that is mostly empty is made smaller when it is opened.
func TestFileIsCompacted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "runs.db")
	db := openStore(t, path, runs.Options{Limits: runs.Limits{MaxRuns: 1 << 20}})
	fill(t, db, 14_000)
	db.SetLimits(runs.Limits{MaxRuns: 1000})
	for range 30 {
		commit(t, db)
	}
	want := db.List(runs.Filter{})
	_ = db.Close()
	before, _ := os.Stat(path)
	db = openStore(t, path, runs.Options{Limits: runs.Limits{MaxRuns: 1000}})
	after, _ := os.Stat(path)
	if after.Size() > before.Size()/3 {
		t.Errorf("%d bytes became %d", before.Size(), after.Size())
	}
	if got := db.List(runs.Filter{}); len(got) != len(want) || got[0].ID != want[0].ID {
		t.Errorf("%d runs became %d", len(want), len(got))
	}
}
