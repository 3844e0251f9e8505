package logs_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/poppobuilder/poppobuilder/internal/logs"
)

// dropsAndRecovers writes to a log in trouble, ends the trouble, and writes
// again.
func dropsAndRecovers(t *testing.T, w *logs.Writer, path string, want error, mend func() error) {
	t.Helper()
	write(t, w, "one\ntwo\n")
	if got := w.Stats(); got.DroppedLines != 2 || got.DroppedBytes != 8 || !errors.Is(got.LastError, want) {
		t.Errorf("in trouble: got %+v, want 2 lines dropped because of %v", got, want)
	}
	if err := mend(); err != nil {
		t.Fatal(err)
	}
	write(t, w, "three\n")
	if got := content(t, path); got != "three\n" {
		t.Errorf("afterwards: got %q", got)
	}
	if got := w.Stats(); got.DroppedLines != 2 || got.Bytes != 6 {
		t.Errorf("afterwards: got %+v", got)
	}
}

func TestFullDevice(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.log")
	if err := os.Symlink("/dev/full", path); err != nil {
		t.Fatal(err)
	}
	w := logs.New(path, logs.Limits{MaxSize: 100})
	defer w.Close()
	dropsAndRecovers(t, w, path, syscall.ENOSPC, func() error { return os.Remove(path) })
}

func TestReadOnlyDirectory(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		dir := t.TempDir()
		path := filepath.Join(dir, "a.log")
		if err := os.Chmod(dir, 0o500); err != nil {
			t.Fatal(err)
		}
		w := logs.New(path, logs.Limits{})
		defer w.Close()
		dropsAndRecovers(t, w, path, syscall.EACCES, func() error { return os.Chmod(dir, 0o700) })
		return
	}
	// Permissions do not stop root, but a file system does.
	dir := smallDisk(t, 64<<10)
	path := filepath.Join(dir, "a.log")
	remount := func(flags uintptr) error { return syscall.Mount("", dir, "", syscall.MS_REMOUNT|flags, "") }
	if err := remount(syscall.MS_RDONLY); err != nil {
		t.Skipf("needs a mount that can become read-only: %v", err)
	}
	w := logs.New(path, logs.Limits{})
	defer w.Close() // before the file system goes
	dropsAndRecovers(t, w, path, syscall.EROFS, func() error { return remount(0) })
}

func TestDescriptorsUsedUp(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.log")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "LOGS_TEST_STARVE="+path)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	all := content(t, path)
	if want := numbered(1, 20) + numbered(23, 23); all != want {
		t.Errorf("got %q, want %q", all, want)
	}
}

// starve rotates a log that is open while there are no descriptors, which
// loses nothing, and opens one, which loses what is written until there are
// some.
func starve(path string) int {
	w := logs.New(path, logs.Limits{MaxSize: 65, Plain: true})
	defer w.Close()
	fmt.Fprint(w, numbered(1, 10))
	hungry := func(f func()) {
		var eaten []*os.File
		for {
			file, err := os.Open(os.DevNull)
			if err != nil {
				break
			}
			eaten = append(eaten, file)
		}
		f()
		for _, file := range eaten {
			file.Close()
		}
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 64, Max: 64}); err != nil {
		fmt.Println(err)
		return 1
	}
	hungry(func() { fmt.Fprint(w, numbered(11, 20)) })
	if s := w.Stats(); s.DroppedLines > 0 {
		fmt.Printf("lost by an open log: %+v\n", s)
		return 1
	}
	if err := w.Close(); err != nil {
		fmt.Println(err)
		return 1
	}
	again := logs.New(path, logs.Limits{})
	defer again.Close()
	hungry(func() { fmt.Fprint(again, numbered(21, 22)) })
	if s := again.Stats(); s.DroppedLines != 2 || !strings.Contains(fmt.Sprint(s.LastError), "too many open files") {
		fmt.Printf("a log that is not open: %+v\n", s)
		return 1
	}
	fmt.Fprint(again, numbered(23, 23))
	return 0
}
