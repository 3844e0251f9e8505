package config_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/poppobuilder/poppobuilder/internal/config"
)

func TestInit(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "home", "config.json")
	if err := config.Init(file); err != nil {
		t.Fatal(err)
	}
	if got := read(t, file); got != string(config.Template()) {
		t.Errorf("file:\n%s", got)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := config.Init(file); !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), file) {
		t.Errorf("second Init: %v", err)
	}
	if got := read(t, file); got != "mine" {
		t.Errorf("second Init wrote %q", got)
	}
}

// What the template shows as the defaults are the defaults: uncommented, all
// of it says the same.
func TestTemplate(t *testing.T) {
	t.Parallel()
	var lines []string
	values := 0
	for line := range strings.Lines(string(config.Template())) {
		if trimmed := strings.TrimSpace(line); strings.HasPrefix(trimmed, `// "`) {
			line = strings.TrimPrefix(trimmed, "// ") + "\n"
			values++
		}
		lines = append(lines, line)
	}
	loaded := mustLoad(t, strings.Join(lines, ""))
	if diff := cmp.Diff(config.Default(), loaded.Settings); diff != "" {
		t.Errorf("(-default +template):\n%s", diff)
	}
	if values != len(config.Keys()) {
		t.Errorf("%d keys in the template, want %d", values, len(config.Keys()))
	}
	for key, origin := range loaded.Origins {
		if origin.Source != config.FromFile {
			t.Errorf("%s is from %v", key, origin)
		}
	}
}

func TestReset(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "config.json")
	reset := func(want string) {
		t.Helper()
		backup, err := config.Reset(file)
		if err != nil || backup != want {
			t.Fatalf("Reset: %q, %v; want %q", backup, err, want)
		}
		if got := read(t, file); got != string(config.Template()) {
			t.Errorf("file:\n%s", got)
		}
	}
	reset("")
	for _, broken := range []string{"{broken", "{more broken"} { // the second time over an older backup
		if err := os.WriteFile(file, []byte(broken), 0o600); err != nil {
			t.Fatal(err)
		}
		reset(file + ".bak")
		if got := read(t, file+".bak"); got != broken {
			t.Errorf("backup %q, want %q", got, broken)
		}
	}
	// A backup that is the file itself, under a second name.
	if err := os.Remove(file + ".bak"); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(file, file+".bak"); err != nil {
		t.Fatal(err)
	}
	reset(file + ".bak")
	entries, err := os.ReadDir(filepath.Dir(file))
	if err != nil || len(entries) != 3 { // with the lock
		t.Errorf("files %v, %v", entries, err)
	}
}

// What root makes in another user's home is that user's, or the user's daemon
// could not read it and the next change could not lock it.
func TestSetByRoot(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can write for another user")
	}
	dir := t.TempDir()
	const user = 65534
	if err := os.Chown(dir, user, user); err != nil {
		t.Fatal(err)
	}
	for _, value := range []string{"1", "2"} { // the first makes the file, the second replaces it
		if _, err := config.Set(filepath.Join(dir, "config.json"), "daemon.port", value); err != nil {
			t.Fatal(err)
		}
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != 2 { // with the lock
			t.Fatalf("files %v, %v", entries, err)
		}
		for _, e := range entries {
			info, err := e.Info()
			if err != nil {
				t.Fatal(err)
			}
			if owner := info.Sys().(*syscall.Stat_t); owner.Uid != user || owner.Gid != user {
				t.Errorf("%s is owned by %d:%d", e.Name(), owner.Uid, owner.Gid)
			}
		}
	}
}

// The lock is no way to make or open a file elsewhere.
func TestSetLockLink(t *testing.T) {
	t.Parallel()
	dir, elsewhere := t.TempDir(), filepath.Join(t.TempDir(), "victim")
	if err := os.Symlink(elsewhere, filepath.Join(dir, ".config.json.lock")); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Set(filepath.Join(dir, "config.json"), "daemon.port", "1"); !errors.Is(err, syscall.ELOOP) {
		t.Errorf("got %v, want %v", err, syscall.ELOOP)
	}
	if _, err := os.Lstat(elsewhere); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("made %s: %v", elsewhere, err)
	}
}
