package runs_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/poppobuilder/poppobuilder/internal/runs"
)

// BenchmarkOpen measures how long it takes to open a store with so many runs of
// history, the check of the whole file included, beside an empty one.
func BenchmarkOpen(b *testing.B) {
	for _, n := range []int{1000, 10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			o := runs.Options{NoSync: true, Limits: runs.Limits{MaxRuns: 1 << 20}}
			full, empty := filepath.Join(b.TempDir(), "full.db"), filepath.Join(b.TempDir(), "empty.db")
			for path, n := range map[string]int{full: n, empty: 0} {
				db := openStore(b, path, o)
				invent(b, db, n)
				if err := db.Close(); err != nil {
					b.Fatal(err)
				}
			}
			open := func(path string) time.Duration {
				start := time.Now()
				db, err := runs.Open(path, o)
				took := time.Since(start)
				if err = errors.Join(err, db.Close()); err != nil {
					b.Fatal(err)
				}
				return took
			}
			var floor, ours time.Duration
			for b.Loop() {
				floor += open(empty)
				ours += open(full)
			}
			b.ReportMetric(float64(floor.Microseconds())/float64(b.N), "empty-us")
			b.ReportMetric(float64(ours.Microseconds())/float64(b.N), "open-us")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkCommit measures what a round costs in which ten runs end and ten are
// claimed, on disk, beside one fsync of as much as one page.
func BenchmarkCommit(b *testing.B) {
	db, err := runs.Open(filepath.Join(b.TempDir(), "runs.db"), runs.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	floor := fsync(b)
	var base, ours time.Duration
	for b.Loop() {
		base += floor()
		start := time.Now()
		cycle(b, db, 10)
		if err := db.Commit(); err != nil {
			b.Fatal(err)
		}
		ours += time.Since(start)
	}
	b.ReportMetric(float64(base.Microseconds())/float64(b.N), "fsync-us")
	b.ReportMetric(float64(ours.Microseconds())/float64(b.N), "commit-us")
	b.ReportMetric(float64(ours)/float64(base), "ratio")
}

// invent makes a history of n runs of 1,000 projects.
func invent(b *testing.B, db *runs.DB, n int) {
	b.Helper()
	for range n / 1000 {
		cycle(b, db, 1000)
		commit(b, db)
	}
}

// cycle has a run of each of n projects run and end.
func cycle(b *testing.B, db *runs.DB, n int) {
	b.Helper()
	code := 0
	for i := range n {
		run, err := db.Enqueue(runs.Request{Project: fmt.Sprintf("project-%d", i), Reason: runs.Schedule})
		if err != nil {
			b.Fatal(err)
		}
		_, err1 := db.Claim(run.ID, i%10)
		_, _, err2 := db.Finish(run.ID, runs.Succeeded, runs.Exit{ExitCode: &code, UserMS: 1, SystemMS: 2, MaxRSSBytes: 4 << 20}, nil)
		if err := errors.Join(err1, err2); err != nil {
			b.Fatal(err)
		}
	}
}

// fsync returns a function that writes a page, puts it on disk, and says how
// long that took.
func fsync(b *testing.B) func() time.Duration {
	b.Helper()
	f, err := os.Create(filepath.Join(b.TempDir(), "synced"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	page, at := make([]byte, 4096), int64(0)
	return func() time.Duration {
		start := time.Now()
		_, err := f.WriteAt(page, at)
		if err = errors.Join(err, f.Sync()); err != nil {
			b.Fatal(err)
		}
		at += int64(len(page))
		return time.Since(start)
	}
}
