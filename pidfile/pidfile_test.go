//go:build unix

package pidfile_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/poppobuilder/poppobuilder/pidfile"
)

// path returns where a test has its pid file. Nothing is there yet.
func path(t *testing.T) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "daemon.pid")
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func create(t *testing.T, path string) *pidfile.File {
	t.Helper()
	f, err := pidfile.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func wantInfo(t *testing.T, path string, want pidfile.Info) {
	t.Helper()
	if got, err := pidfile.Read(path); err != nil || got != want {
		t.Errorf("Read: got %+v, %v; want %+v", got, err, want)
	}
}

func wantText(t *testing.T, path, want string) {
	t.Helper()
	if got, err := os.ReadFile(path); err != nil || string(got) != want {
		t.Errorf("the file says %q, %v; want %q", got, err, want)
	}
}

// wantHeld fails unless err says that pid holds path.
func wantHeld(t *testing.T, err error, path string, pid int) {
	t.Helper()
	var held *pidfile.HeldError
	if !errors.As(err, &held) || *held != (pidfile.HeldError{Path: path, PID: pid}) {
		t.Errorf("got error %v, want that process %d holds %s", err, pid, path)
	}
}

var (
	absent = pidfile.Info{State: pidfile.Absent}
	self   = pidfile.Info{State: pidfile.Held, PID: os.Getpid()}
)

func TestCreate(t *testing.T) {
	t.Parallel()
	p := path(t)
	wantInfo(t, p, absent)
	f := create(t, p)
	wantInfo(t, p, self)
	wantText(t, p, fmt.Sprintf("%d\n", os.Getpid()))
	if fi, err := os.Stat(p); err != nil || fi.Mode()&0o133 != 0 || fi.Mode()&0o600 != 0o600 {
		t.Errorf("mode is %v, %v; want 0644 or what umask leaves of it", fi.Mode(), err)
	}
	if f.String() != p {
		t.Errorf("String: got %q, want %q", f.String(), p)
	}
	_, err := pidfile.Create(p)
	wantHeld(t, err, p, os.Getpid())
	for range 2 {
		if err := f.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	wantInfo(t, p, absent)
	if err := f.Write(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Write after Close: %v, want fs.ErrClosed", err)
	}
	create(t, p) // again
}

// Between Lock and Write the path is held, but nobody knows by whom.
func TestLock(t *testing.T) {
	t.Parallel()
	p := path(t)
	f, err := pidfile.Lock(p)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	wantInfo(t, p, pidfile.Info{State: pidfile.Held})
	_, err = pidfile.Lock(p)
	wantHeld(t, err, p, 0)
	for range 2 {
		if err := f.Write(); err != nil {
			t.Fatal(err)
		}
		wantInfo(t, p, self)
	}
}

func TestLock_missingDirectory(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a", "b")
	p := filepath.Join(dir, "daemon.pid")
	_, err := pidfile.Lock(p)
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "create the directory "+dir+" first") {
		t.Errorf("got %v, want that %s is to be created", err, dir)
	}
	wantInfo(t, p, absent)
}

// Who holds a file that was removed leaves alone what came after it, and does not write into the void.
func TestFile_removed(t *testing.T) {
	t.Parallel()
	p := path(t)
	f, err := pidfile.Lock(p)
	must(t, err)
	must(t, os.Remove(p))
	wantInfo(t, p, absent)
	if err := f.Write(); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "removed or replaced") {
		t.Errorf("Write: got %v, want that the file was removed", err)
	}
	second := create(t, p)
	if err := f.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	wantInfo(t, p, self)
	must(t, second.Close())
	wantInfo(t, p, absent)
}

func TestFile_replaced(t *testing.T) {
	t.Parallel()
	p := path(t)
	f := create(t, p)
	put(t, p+".new", "7\n")
	must(t, os.Rename(p+".new", p))
	wantInfo(t, p, pidfile.Info{State: pidfile.Stale, PID: 7})
	if err := f.Write(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Write: got %v, want that the file was replaced", err)
	}
	if err := f.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	wantText(t, p, "7\n")
}

// The directory is gone: there is nothing to remove, and the lock is given up all the same.
func TestFile_directoryRemoved(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "run")
	must(t, os.Mkdir(dir, 0o755))
	f := create(t, filepath.Join(dir, "daemon.pid"))
	must(t, os.RemoveAll(dir))
	if err := f.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// B opens the file of A. A removes it and ends. C creates a new one. Now B locks what it has opened, which nobody else
// holds. Without a second look at the path there would be two holders.
func TestLock_recheck(t *testing.T) {
	t.Parallel()
	for _, recheck := range []bool{true, false} {
		t.Run(fmt.Sprintf("recheck=%t", recheck), func(t *testing.T) {
			t.Parallel()
			p := path(t)
			a := create(t, p)
			turn := sync.OnceFunc(func() {
				must(t, a.Close())
				create(t, p) // C
			})
			b, err := pidfile.LockSteps(p, turn, nil, recheck)
			if recheck {
				wantHeld(t, err, p, os.Getpid())
				return
			}
			if err != nil {
				t.Fatalf("without the recheck, Lock gave %v; so this test shows nothing", err)
			}
			b.Close()
		})
	}
}

// A file that changes under every look is given up in the end.
func TestLock_unsettled(t *testing.T) {
	t.Parallel()
	p := path(t)
	_, err := pidfile.LockSteps(p, func() { os.Remove(p) }, nil, true)
	if err == nil || !strings.Contains(err.Error(), "replaced again and again") {
		t.Errorf("got %v, want that the file is replaced again and again", err)
	}
}

// In one process, many goroutines: exactly one wins, round after round, while others read.
func TestCreate_goroutines(t *testing.T) {
	t.Parallel()
	p := path(t)
	var running sync.WaitGroup
	var holders atomic.Int32
	for range 8 {
		running.Go(func() {
			for range 200 {
				f, err := pidfile.Create(p)
				var held *pidfile.HeldError
				switch {
				case errors.As(err, &held):
				case err != nil:
					t.Error(err)
				default:
					if n := holders.Add(1); n != 1 {
						t.Errorf("%d holders at once", n)
					}
					runtime.Gosched()
					holders.Add(-1)
					if err := f.Close(); err != nil {
						t.Error(err)
					}
				}
				// All remove their file before they release it, so no number is ever left behind.
				if info, err := pidfile.Read(p); err != nil || info.State == pidfile.Stale && info.PID != 0 {
					t.Errorf("Read: %+v, %v", info, err)
				}
			}
		})
	}
	running.Wait()
	wantInfo(t, p, absent)
}

func TestErrors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err  error
		want string
	}{
		{&pidfile.HeldError{Path: "/run/x.pid", PID: 7}, "pid file /run/x.pid is held by process 7: stop it first, or use another path"},
		{&pidfile.HeldError{Path: "/run/x.pid"}, "pid file /run/x.pid is held by a process that is still starting: wait for it, or use another path"},
		{&pidfile.NotHeldError{Path: "/run/x.pid"}, "no process holds pid file /run/x.pid: there is no such file"},
		{&pidfile.NotHeldError{Path: "/run/x.pid", Info: pidfile.Info{State: pidfile.Stale}}, "no process holds pid file /run/x.pid: it is stale"},
		{&pidfile.NotHeldError{Path: "/run/x.pid", Info: pidfile.Info{State: pidfile.Stale, PID: 7}}, "no process holds pid file /run/x.pid: it is stale, left by process 7"},
	} {
		if got := tt.err.Error(); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}

func TestState_String(t *testing.T) {
	t.Parallel()
	var got bytes.Buffer
	for _, s := range []pidfile.State{pidfile.Absent, pidfile.Stale, pidfile.Held, 7} {
		fmt.Fprintln(&got, s)
	}
	if want := "absent\nstale\nheld\nState(7)\n"; got.String() != want {
		t.Errorf("got %q, want %q", got.String(), want)
	}
}
