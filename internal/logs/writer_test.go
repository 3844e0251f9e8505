package logs_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/poppobuilder/poppobuilder/internal/logs"
)

func TestOpenMakesPrivateFiles(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "logs", "projects", "a.log")
	write(t, open(t, path, logs.Limits{}), "hello\n")

	for name, want := range map[string]fs.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("mode of %s: got %o, want %o", filepath.Base(name), got, want)
		}
	}
}

func TestOpenAppends(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.log")
	for _, line := range []string{"one\n", "two\n"} {
		w := open(t, path, logs.Limits{})
		write(t, w, line)
		w.Close()
	}
	if got, want := content(t, path), "one\ntwo\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestOpenTellsWhyNot(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	write(t, open(t, file, logs.Limits{}), "x\n")
	if _, err := logs.Open(filepath.Join(file, "a.log"), logs.Limits{}); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("got %v, want an error that names %s", err, file)
	}
}

func TestNewTouchesNothingBeforeTheFirstWrite(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "dir", "a.log")
	w := logs.New(path, logs.Limits{})
	defer w.Close()
	if _, err := os.Stat(filepath.Dir(path)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("directory before the first write: got %v, want it missing", err)
	}
	write(t, w, "hello\n")
	if got := content(t, path); got != "hello\n" {
		t.Errorf("got %q", got)
	}
}

func TestRotationFallsBetweenLines(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		maxSize int64
		writes  []string
		want    []string // the rotated files, then the current one
	}{
		{"fits exactly", 8, []string{"abc\n", "def\n"}, []string{"abc\ndef\n"}},
		{"one too many", 8, []string{"abc\n", "def\n", "g\n"}, []string{"abc\ndef\n", "g\n"}},
		{"a write is split", 8, []string{"abc\ndef\nghi\njkl\nm\n"}, []string{"abc\ndef\n", "ghi\njkl\n", "m\n"}},
		{"a long line gets its own file", 4, []string{"a\n", "long line\n", "b\n"}, []string{"a\n", "long line\n", "b\n"}},
		{"a long line in one write", 4, []string{"a\nlong line\nb\n"}, []string{"a\n", "long line\n", "b\n"}},
		{"no limit", 0, []string{"abc\n", "def\n"}, []string{"abc\ndef\n"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "a.log")
			w := open(t, path, logs.Limits{MaxSize: tt.maxSize})
			for _, p := range tt.writes {
				write(t, w, p)
			}
			w.Close()
			var got []string
			for _, name := range append(rotatedFiles(t, path), path) {
				got = append(got, string(fileContent(t, name)))
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestConcurrentWritersLoseAndCutNoLine(t *testing.T) {
	t.Parallel()
	const writers, each = 8, 500
	path := filepath.Join(t.TempDir(), "a.log")
	w := open(t, path, logs.Limits{MaxSize: 8 << 10})
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			for j := range each {
				write(t, w, fmt.Sprintf("writer %d line %03d\n", i, j))
			}
		})
	}
	wg.Wait()
	w.Close()

	if n := len(rotatedFiles(t, path)); n < 5 {
		t.Errorf("%d rotated files, want a burst across several", n)
	}
	for _, name := range append(rotatedFiles(t, path), path) {
		if data := fileContent(t, name); len(data) > 8<<10 || data[len(data)-1] != '\n' {
			t.Errorf("%s: %d bytes, ends with %q", filepath.Base(name), len(data), data[len(data)-1])
		}
	}
	next := make([]int, writers)
	for line := range strings.Lines(content(t, path)) {
		var i, j int
		if _, err := fmt.Sscanf(line, "writer %d line %d\n", &i, &j); err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		if j != next[i] {
			t.Fatalf("writer %d: got line %d, want %d", i, j, next[i])
		}
		next[i]++
	}
	for i, n := range next {
		if n != each {
			t.Errorf("writer %d: got %d lines, want %d", i, n, each)
		}
	}
}

func TestMaxFilesBoundsTheTotal(t *testing.T) {
	t.Parallel()
	const maxSize, maxFiles = 1 << 10, 3
	path := filepath.Join(t.TempDir(), "a.log")
	w := open(t, path, logs.Limits{MaxSize: maxSize, MaxFiles: maxFiles})
	for i := range 2000 {
		write(t, w, numbered(i, i))
		if i%100 == 0 {
			checkTotal(t, path, (maxFiles+2)*maxSize)
		}
	}
	w.Close()
	got := content(t, path)
	if n := len(rotatedFiles(t, path)); n != maxFiles {
		t.Errorf("got %d rotated files, want %d", n, maxFiles)
	}
	if want := numbered(0, 1999); !strings.HasSuffix(want, got) || len(got) < maxFiles*(maxSize-20) {
		t.Errorf("got %d bytes that are not the end of what was written", len(got))
	}
}

// checkTotal checks that the directory of a log is not larger than limit.
func checkTotal(t *testing.T, path string, limit int64) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	var total int64
	for _, entry := range entries {
		if info, err := entry.Info(); err == nil {
			total += info.Size()
		}
	}
	if total > limit {
		t.Errorf("total: got %d bytes, want at most %d", total, limit)
	}
}

func TestMaxAgeRemovesOldFilesAtOpening(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.log")
	old, older, young, foreign := path+".000002", path+".000001.gz", path+".000003.gz", path+".1999"
	for name, age := range map[string]time.Duration{
		old: 2 * time.Hour, older: 48 * time.Hour, young: time.Minute, foreign: 48 * time.Hour,
	} {
		written := time.Now().Add(-age)
		if err := errors.Join(os.WriteFile(name, nil, 0o600), os.Chtimes(name, written, written)); err != nil {
			t.Fatal(err)
		}
	}
	open(t, path, logs.Limits{MaxAge: time.Hour})
	want := []string{young, foreign}
	slices.Sort(want)
	if got := rotatedFiles(t, path); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestSetLimitsAppliesAtOnce(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.log")
	w := open(t, path, logs.Limits{})
	write(t, w, numbered(1, 10))
	w.SetLimits(logs.Limits{MaxSize: 20})
	write(t, w, numbered(11, 13))
	w.WaitCompressed()
	if n := len(rotatedFiles(t, path)); n != 3 {
		t.Errorf("after MaxSize: got %d rotated files, want 3", n)
	}
	w.SetLimits(logs.Limits{MaxSize: 20, MaxFiles: 1})
	w.Close()
	if got := content(t, path); got != numbered(12, 13) {
		t.Errorf("after MaxFiles: got %q", got)
	}
}

func TestWriteAfterTheFileIsGone(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		harm func(path string) error
		want string
	}{
		{"file deleted", os.Remove, "after\n"},
		{"file moved", func(path string) error { return os.Rename(path, path+"-moved") }, "after\n"},
		{"file replaced", func(path string) error {
			return errors.Join(os.Remove(path), os.WriteFile(path, []byte("other\n"), 0o600))
		}, "other\nafter\n"},
		{"file truncated", func(path string) error { return os.Truncate(path, 0) }, "after\n"},
		{"directory deleted", func(path string) error { return os.RemoveAll(filepath.Dir(path)) }, "after\n"},
		{"directory moved", func(path string) error {
			return os.Rename(filepath.Dir(path), filepath.Dir(path)+"-moved")
		}, "after\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "dir", "a.log")
			w := open(t, path, logs.Limits{})
			write(t, w, "before\n")
			if err := tt.harm(path); err != nil {
				t.Fatal(err)
			}
			write(t, w, "after\n")
			if got := content(t, path); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if got := w.Stats(); got.DroppedLines != 0 || got.Bytes != int64(len("before\nafter\n")) {
				t.Errorf("stats: got %+v", got)
			}
		})
	}
}

func TestReopenFollowsAMove(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.log")
	w := open(t, path, logs.Limits{})
	write(t, w, "before\n")
	if err := os.Rename(path, path+"-moved"); err != nil {
		t.Fatal(err)
	}
	if err := w.Reopen(); err != nil {
		t.Fatal(err)
	}
	if got := content(t, path); got != "" {
		t.Errorf("got %q, want an empty file", got)
	}
}

func TestWhatCannotBeWrittenIsCounted(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "dir")
	path := filepath.Join(dir, "a.log")
	w := open(t, path, logs.Limits{})
	if err := errors.Join(os.RemoveAll(dir), os.WriteFile(dir, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	write(t, w, "one\ntwo\n")
	if got := w.Stats(); got.DroppedLines != 2 || got.DroppedBytes != 8 || got.LastError == nil {
		t.Errorf("stats: got %+v, want 2 lines and 8 bytes dropped and an error", got)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	write(t, w, "three\n")
	if got := content(t, path); got != "three\n" {
		t.Errorf("after the trouble: got %q", got)
	}
	if got := w.Stats(); got.DroppedLines != 2 || got.Bytes != 6 {
		t.Errorf("stats after the trouble: got %+v", got)
	}
}

func TestWriteAfterClose(t *testing.T) {
	t.Parallel()
	w := open(t, filepath.Join(t.TempDir(), "a.log"), logs.Limits{})
	w.Close()
	if _, err := w.Write([]byte("x\n")); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("write: got %v, want fs.ErrClosed", err)
	}
	if err := w.Reopen(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("reopen: got %v, want fs.ErrClosed", err)
	}
	if err := w.Close(); err != nil {
		t.Errorf("second close: got %v", err)
	}
}
