package logs_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/poppobuilder/poppobuilder/internal/logs"
)

func TestRotatedFilesAreCompressed(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.log")
	w := open(t, path, logs.Limits{MaxSize: 4 << 10})
	write(t, w, numbered(1, 1000))
	compressAll(t, path, w)
	if got := content(t, path); got != numbered(1, 1000) {
		t.Errorf("got %d lines, want 1000", strings.Count(got, "\n"))
	}
	for _, name := range rotatedFiles(t, path) {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != 0o600 {
			t.Errorf("mode of %s: got %o, want 600", filepath.Base(name), got)
		}
	}
}

// What a killed process leaves: a copy that is not complete, and a complete
// one whose original is still there.
func TestOpenTidiesUpAfterACrash(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.log")
	const (
		first  = ".000001"
		second = ".000002"
		third  = ".000003"
	)
	files := map[string]string{
		first:             "one\n",
		first + ".gz.tmp": "\x1f\x8b half",
		second:            "two\n",
		second + ".gz":    "\x1f\x8b not synced",
		third + ".gz.tmp": "\x1f\x8b removed since",
		".0other":         "foreign",
	}
	for suffix, data := range files {
		if err := os.WriteFile(path+suffix, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	written := time.Now().Add(-time.Hour).Truncate(time.Second)
	if err := os.Chtimes(path+first, written, written); err != nil {
		t.Fatal(err)
	}
	w := open(t, path, logs.Limits{MaxSize: 1 << 10})
	w.WaitCompressed()
	if info, err := os.Stat(path + first + ".gz"); err != nil || !info.ModTime().Equal(written) {
		t.Errorf("compressed file: got %v, %v, want the age of its original", info, err)
	}
	want := []string{path + first + ".gz", path + ".0other", path + second + ".gz"}
	slices.Sort(want)
	if got := rotatedFiles(t, path); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	for suffix, want := range map[string]string{first: "one\n", second: "two\n"} {
		if got := string(fileContent(t, path+suffix+".gz")); got != want {
			t.Errorf("%s: got %q, want %q", suffix, got, want)
		}
	}
}

func TestNumbersGoOn(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.log")
	for _, suffix := range []string{".000007.gz", ".1000000", ".0000008", ".-00009", ".other"} {
		if err := os.WriteFile(path+suffix, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w := open(t, path, logs.Limits{MaxSize: 15, MaxFiles: 2})
	write(t, w, numbered(1, 4))
	w.WaitCompressed()
	want := []string{path + ".-00009", path + ".0000008", path + ".1000002.gz", path + ".1000003.gz", path + ".other"}
	if got := rotatedFiles(t, path); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestCloseEndsACompression(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.log")
	rotated := path + ".000001"
	// Takes a long time to compress, but no room on the disk.
	if err := os.WriteFile(rotated, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(rotated, 8<<30); err != nil {
		t.Skipf("needs a file system with sparse files: %v", err)
	}
	started := watchFor(t, rotated+".gz.tmp")
	w := open(t, path, logs.Limits{MaxFiles: 1})
	started()
	w.Close()
	if got, want := rotatedFiles(t, path), []string{rotated}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// watchFor returns a function that waits until a file is created.
func watchFor(t *testing.T, path string) (wait func()) {
	t.Helper()
	watcher, err := fsnotify.NewWatcher()
	if err == nil {
		err = watcher.Add(filepath.Dir(path))
	}
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		defer watcher.Close()
		for event := range watcher.Events {
			if event.Name == path && event.Has(fsnotify.Create) {
				return
			}
		}
	}
}
