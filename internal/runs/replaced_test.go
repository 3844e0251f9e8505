package runs_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/poppobuilder/poppobuilder/internal/runs"
)

// replacements are what somebody may do to a file that is open. In each case the
// path no longer names it.
var replacements = map[string]func(path string) error{
	"removed":                 os.Remove,
	"renamed":                 func(path string) error { return os.Rename(path, path+".mine") },
	"directory removed":       func(path string) error { return os.RemoveAll(filepath.Dir(path)) },
	"directory renamed":       func(path string) error { return os.Rename(filepath.Dir(path), filepath.Dir(path)+".mine") },
	"replaced by a file":      replaceFile,
	"replaced by a directory": func(path string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o700)) },
}

func replaceFile(path string) error {
	return errors.Join(os.WriteFile(path+".new", []byte("something else"), 0o600), os.Rename(path+".new", path))
}

// A run that was accepted, and the history, are in the file that the path names,
// whatever happened to the one that was open.
func TestFileThatIsReplacedWhileItIsOpen(t *testing.T) {
	for name, replace := range replacements {
		for _, when := range []string{"before", "during", "at the end"} {
			t.Run(name+" "+when, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "state", "runs.db")
				if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
					t.Fatal(err)
				}
				armed, told := false, 0
				db := openStore(t, path, runs.Options{OnRescue: func(runs.Rescue) { told++ }, Fault: func(point string) error {
					if point != "write" || !armed {
						return nil
					}
					armed = false
					return replace(path)
				}})
				fill(t, db, 300)
				armed = when == "during"
				if when != "during" {
					if err := replace(path); err != nil {
						t.Fatal(err)
					}
				}
				want := 301
				if when != "at the end" {
					if _, err := db.Enqueue(runs.Request{Project: "new"}); err != nil {
						t.Fatal(err)
					}
					commit(t, db)
					want++
				}
				copied := copyFile(t, path) // as after a power cut
				if err := db.Close(); err != nil {
					t.Fatal(err)
				}
				r := db.Health().Rescue
				if r == nil || !strings.Contains(r.Problem, "removed or replaced") || r.Salvaged < 301 || told != 1 {
					t.Errorf("rescued %+v, told %d times", r, told)
				}
				if strings.HasPrefix(name, "replaced") {
					if _, err := os.Stat(r.Aside); err != nil {
						t.Errorf("what was in its place: %v", err)
					}
				}
				for _, path := range []string{path, copied} {
					if path == "" {
						continue
					}
					db := openStore(t, path, runs.Options{})
					if got := db.List(runs.Filter{}); len(got) != want || db.Health().Rescue != nil {
						t.Errorf("%d runs became %d; %+v", want, len(got), db.Health())
					}
				}
			})
		}
	}
}

// copyFile copies what the path names, if that is a file of runs.
func copyFile(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil || len(content) < 4096 {
		return ""
	}
	to := filepath.Join(t.TempDir(), "copy.db")
	if err := os.WriteFile(to, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return to
}

// A file that another store has put there is not taken away from it.
func TestFileThatAnotherStoreUsesIsLeftAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "runs.db")
	db := openStore(t, path, runs.Options{})
	fill(t, db, 10)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	other := openStore(t, path, runs.Options{})
	run, err := other.Enqueue(runs.Request{Project: "a"})
	if err != nil {
		t.Fatal(err)
	}
	commit(t, other)
	_, _ = db.Enqueue(runs.Request{Project: "b"})
	if _, ok := errors.AsType[*runs.LockedError](db.Commit()); !ok {
		t.Error("a run was accepted into a file that another store has")
	}
	if _, err := other.Enqueue(runs.Request{Project: "c"}); err != nil {
		t.Error(err)
	}
	commit(t, other)
	if _, err := other.Get(run.ID); err != nil || other.Health().Rescue != nil {
		t.Errorf("the other store: %v, %+v", err, other.Health())
	}
}

// What is no file is set aside as it is.
func TestWhatIsNoFileIsSetAside(t *testing.T) {
	for name, put := range map[string]func(path string) error{
		"directory": func(path string) error { return os.MkdirAll(filepath.Join(path, "sub"), 0o700) },
		"fifo":      func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"socket": func(path string) error {
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
			if err != nil {
				return err
			}
			l.SetUnlinkOnClose(false)
			return l.Close()
		},
		"device":             func(path string) error { return syscall.Mknod(path, syscall.S_IFCHR|0o600, 1<<8|3) },
		"link to itself":     func(path string) error { return os.Symlink(path, path) },
		"link into nowhere":  func(path string) error { return os.Symlink("gone/runs.db", path) },
		"link to no program": func(path string) error { return os.Symlink(os.DevNull+"/runs.db", path) },
	} {
		t.Run(name, func(t *testing.T) {
			dir, err := os.MkdirTemp("", "runs") // short, for the socket
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(dir) })
			path := filepath.Join(dir, "runs.db")
			if err := put(path); errors.Is(err, os.ErrPermission) {
				t.Skip("making this needs root")
			} else if err != nil {
				t.Fatal(err)
			}
			before, _ := os.Lstat(path)
			db := openStore(t, path, runs.Options{})
			r := db.Health().Rescue
			if r == nil || !strings.Contains(r.Problem, "no regular file") {
				t.Fatalf("rescued %+v", r)
			}
			if after, err := os.Lstat(r.Aside); err != nil || !os.SameFile(before, after) {
				t.Errorf("what was there is not kept: %v", err)
			}
			use(t, db)
		})
	}
}

func TestLinkToAFileIsFollowed(t *testing.T) {
	dir := t.TempDir()
	path, file := filepath.Join(dir, "runs.db"), filepath.Join(dir, "elsewhere.db")
	if err := os.Symlink(file, path); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the first time there is no such file yet
		db := openStore(t, path, runs.Options{})
		fill(t, db, 10)
		if err := db.Close(); err != nil || db.Health().Rescue != nil {
			t.Fatalf("%v, %+v", err, db.Health())
		}
	}
	db := openStore(t, file, runs.Options{})
	if got := db.List(runs.Filter{}); len(got) != 22 {
		t.Errorf("there are %d runs", len(got))
	}
}

// Of damage that comes back the first file and the latest ones are kept.
func TestDamageThatComesBackIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "runs.db")
	db := openStore(t, path, runs.Options{})
	fill(t, db, 300)
	var aside []string
	inUse := openFiles(t, path)
	for range 8 {
		if err := os.Truncate(path, 8192); err != nil {
			t.Fatal(err)
		}
		db.List(runs.Filter{})
		fill(t, db, 60)
		aside = append(aside, db.Health().Rescue.Aside)
	}
	kept, err := filepath.Glob(path + ".*")
	if err != nil || len(kept) != 3 {
		t.Fatalf("kept are %q", kept)
	}
	for _, i := range []int{0, 6, 7} {
		if _, err := os.Stat(aside[i]); err != nil {
			t.Errorf("file %d of 8: %v", i, err)
		}
	}
	if got := openFiles(t, path); got != inUse {
		t.Errorf("descriptors and mappings were %d and are %d", inUse, got)
	}
}
