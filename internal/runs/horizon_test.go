package runs_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/poppobuilder/poppobuilder/internal/runs"
)

// A clock that is put forward makes no run old; time that really passes does.
func TestClockThatJumpsForwardKeepsTheHistory(t *testing.T) {
	const day, year = 24 * time.Hour, 365 * 24 * time.Hour
	for _, tt := range []struct {
		name           string
		wall, elapsed  time.Duration // since the runs
		reopen         bool          // between the runs and that
		wantThatRemain int
	}{
		{name: "a year that passed", wall: year, elapsed: year, wantThatRemain: 0},
		{name: "a year in no time", wall: year, elapsed: time.Minute, wantThatRemain: 20},
		{name: "a year in a week", wall: year, elapsed: 7 * day, wantThatRemain: 20},
		{name: "a year in a month", wall: year, elapsed: 31 * day, wantThatRemain: 0},
		{name: "back by a year", wall: -year, elapsed: 31 * day, wantThatRemain: 20},
		{name: "opened a year later", wall: year, elapsed: time.Minute, reopen: true, wantThatRemain: 20},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var wall, elapsed time.Duration
			o := runs.WithClock(
				runs.Options{Limits: runs.Limits{MaxAge: 30 * day}},
				func() time.Time { return time.Now().Add(wall) },
				func() time.Duration { return elapsed },
			)
			path := filepath.Join(t.TempDir(), "runs.db")
			db := openStore(t, path, o)
			fill(t, db, 20)
			if tt.reopen {
				_ = db.Close()
				wall = tt.wall
				db = openStore(t, path, o)
			}
			wall, elapsed = tt.wall, tt.elapsed
			for range 3 {
				db.SetLimits(o.Limits) // there is something to commit
				commit(t, db)
			}
			if got := len(db.List(runs.Filter{})) - 1; got != tt.wantThatRemain {
				t.Errorf("%d runs of 20 remain, want %d", got, tt.wantThatRemain)
			}
		})
	}
}
