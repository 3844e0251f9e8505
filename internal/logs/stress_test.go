package logs_test

import (
	"path/filepath"
	"testing"

	"github.com/poppobuilder/poppobuilder/internal/logs"
)

// Several followers, while files of some lines are rotated and compressed as
// fast as it goes: each gets each line once.
func TestFollowStress(t *testing.T) {
	t.Parallel()
	const lines, followers, batch = 20_000, 4, 10
	path := filepath.Join(t.TempDir(), "a.log")
	w := open(t, path, logs.Limits{MaxSize: 2 << 10})
	var all []*received
	for i := 1; i <= lines; i += batch {
		if i%(lines/followers) == 1 {
			all = append(all, follow(t, path, -1, nil))
		}
		write(t, w, numbered(i, i+batch-1))
	}
	for _, got := range all {
		got.waitFor(t, numbered(1, lines))
	}
	if len(all) != followers {
		t.Errorf("%d followers, want %d", len(all), followers)
	}
}
