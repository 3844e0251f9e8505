package config_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
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
