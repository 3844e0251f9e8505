package api_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/poppobuilder/poppobuilder/internal/api"
)

func TestLoadToken(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "api-token")
	made, err := api.LoadToken(path)
	if err != nil || len(made) != 64 {
		t.Fatalf("made %q, %v, want 64 characters", made, err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v, want 0600", info.Mode(), err)
	}
	if again, err := api.LoadToken(path); again != made || err != nil {
		t.Errorf("then loaded %q, %v, want %q", again, err, made)
	}
	if other, err := api.LoadToken(path + "2"); other == made || err != nil {
		t.Errorf("made %q twice, %v", other, err)
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); len(entries) != 2 {
		t.Errorf("left behind %v, %v", entries, err)
	}
}

func TestLoadToken_content(t *testing.T) {
	t.Parallel()
	own := strings.Repeat("k", 40)
	for _, tt := range []struct {
		name, content, want string // want empty: refused
	}{
		{"own token", own, own},
		{"newline", own + "\n", own},
		{"carriage return", own + "\r\n", own},
		{"longest", strings.Repeat("k", 512) + "\n", strings.Repeat("k", 512)},
		{"empty", "", ""},
		{"short", strings.Repeat("k", 31), ""},
		{"long", strings.Repeat("k", 513), ""},
		{"very long", strings.Repeat("k", 1<<20), ""},
		{"two lines", own + "\n" + own, ""},
		{"space", own + " " + own, ""},
		{"binary", own + "\x00", ""},
		{"not ASCII", own + "é", ""},
	} {
		path := filepath.Join(t.TempDir(), "api-token")
		if err := os.WriteFile(path, []byte(tt.content), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := api.LoadToken(path)
		if got != tt.want || (err != nil) != (tt.want == "") {
			t.Errorf("%s: got %q, %v, want %q", tt.name, got, err, tt.want)
		}
		if err != nil && (!strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "remove the file")) {
			t.Errorf("%s: %q lacks the path or the next step", tt.name, err)
		}
		if data, err := os.ReadFile(path); string(data) != tt.content {
			t.Errorf("%s: the file was changed to %q, %v", tt.name, data, err)
		}
	}
}

func TestLoadToken_exposed(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "api-token")
	old := strings.Repeat("k", 40)
	if err := os.WriteFile(path, []byte(old), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	fresh, err := api.LoadToken(path)
	if !errors.Is(err, api.ErrTokenExposed) || fresh == old || len(fresh) != 64 || !strings.Contains(err.Error(), path) {
		t.Errorf("got %q, %v, want a new token and ErrTokenExposed", fresh, err)
	}
	if again, err := api.LoadToken(path); again != fresh || err != nil {
		t.Errorf("then loaded %q, %v, want %q", again, err, fresh)
	}
}

// A token that another user has put there is known to that user, whatever its
// mode.
func TestLoadToken_otherOwner(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file to another user")
	}
	path := filepath.Join(t.TempDir(), "api-token")
	planted := strings.Repeat("k", 40)
	if err := errors.Join(os.WriteFile(path, []byte(planted), 0o600), os.Chown(path, 65534, 65534)); err != nil {
		t.Fatal(err)
	}
	fresh, err := api.LoadToken(path)
	if !errors.Is(err, api.ErrTokenExposed) || fresh == planted || len(fresh) != 64 {
		t.Errorf("got %q, %v, want a new token and ErrTokenExposed", fresh, err)
	}
	if again, err := api.LoadToken(path); again != fresh || err != nil {
		t.Errorf("then loaded %q, %v, want %q", again, err, fresh)
	}
}

func TestLoadToken_notAFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, fifo} {
		if _, err := api.LoadToken(path); err == nil || !strings.Contains(err.Error(), "not a file") {
			t.Errorf("%s: got %v", path, err)
		}
	}
	if _, err := api.LoadToken(filepath.Join(dir, "none", "api-token")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no directory: got %v", err)
	}
}
