package logs_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/poppobuilder/poppobuilder/internal/logs"
)

const day = 24 * time.Hour

// A clock can be set on.
type clock struct{ on time.Duration }

func (c *clock) now() time.Time { return time.Now().Add(c.on) }

func checkRotations(t *testing.T, path string, want int, when string) {
	t.Helper()
	if got := len(rotatedFiles(t, path)); got != want {
		t.Fatalf("%s: %d rotated files, want %d", when, got, want)
	}
}

func TestRotationByAge(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.log")
	w := open(t, path, logs.Limits{RotateEvery: day, MaxFiles: 2, Plain: true})
	var c clock
	w.SetNow(c.now)
	steps := []struct {
		name      string
		on        time.Duration
		rotations int
	}{
		{"first line", 0, 0},
		{"almost", day - time.Hour, 0},
		{"a day after", 2 * time.Hour, 1},
		{"right after that", 0, 1},
		{"much later", 100 * day, 2},
		{"more than are kept", day, 2},
		{"clock set back", -50 * day, 2},
	}
	for i, step := range steps {
		c.on += step.on
		write(t, w, numbered(i, i))
		checkRotations(t, path, step.rotations, step.name)
	}
	if got, want := content(t, path), numbered(2, 6); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A file is as old as it is to the file system, whoever opens it.
func TestRotationByAgeAfterARestart(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.log")
	limits := logs.Limits{RotateEvery: day, Plain: true}
	write(t, open(t, path, limits), numbered(1, 1))
	if !logs.KnowsBirth(t, path) {
		t.Skip("this file system does not tell when a file was made")
	}
	// What the clock is does not count when a Writer is made.
	w := logs.New(path, limits)
	c := clock{on: day}
	w.SetNow(c.now)
	defer w.Close()
	write(t, w, numbered(2, 2))
	checkRotations(t, path, 1, "a day later")
	write(t, w, numbered(3, 3))
	checkRotations(t, path, 1, "at once")
}

// A limit that is set while the log is open counts at the next write, and an
// old file without a line in it is not worth a rotation.
func TestRotationByAgeIsSetLive(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.log")
	w := open(t, path, logs.Limits{Plain: true})
	c := clock{on: 10 * day}
	w.SetNow(c.now)
	w.SetLimits(logs.Limits{RotateEvery: day, Plain: true})
	write(t, w, numbered(1, 1))
	checkRotations(t, path, 0, "empty file")
	w.SetLimits(logs.Limits{Plain: true})
	c.on += 10 * day
	write(t, w, numbered(2, 2))
	checkRotations(t, path, 0, "without a limit")
	w.SetLimits(logs.Limits{RotateEvery: day, Plain: true})
	write(t, w, numbered(3, 3))
	checkRotations(t, path, 1, "with a limit")
}

// What is too old and cannot be rotated goes on, and loses nothing.
func TestRotationByAgeThatFails(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), strings.Repeat("a", 250)) // no number fits behind it
	w := open(t, path, logs.Limits{RotateEvery: day, Plain: true})
	var c clock
	w.SetNow(c.now)
	write(t, w, numbered(1, 1))
	c.on = day
	write(t, w, numbered(2, 2))
	if s := w.Stats(); s.DroppedLines > 0 || s.LastError == nil {
		t.Errorf("got %+v, want an error and nothing dropped", s)
	}
	if got := content(t, path); got != numbered(1, 2) {
		t.Errorf("got %q", got)
	}
}
