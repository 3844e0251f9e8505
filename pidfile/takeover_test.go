//go:build unix

package pidfile_test

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/poppobuilder/poppobuilder/pidfile"
)

// A file that nobody holds is taken over, whatever it says.
func TestCreate_takesOver(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, text string
		pid        int // what Read makes of it
	}{
		{"empty", "", 0},
		{"garbage", "hello\n", 0},
		{"zero bytes", strings.Repeat("\x00", 4096), 0},
		{"a living stranger", fmt.Sprintf("%d\n", os.Getppid()), os.Getppid()},
		{"this process", fmt.Sprintf("%d\n", os.Getpid()), os.Getpid()},
		{"no newline", "123", 0},
		{"two numbers", "123\n456\n", 0},
		{"zero", "0\n", 0},
		{"every process", "-1\n", 0},
		{"plus", "+123\n", 0},
		{"leading zero", "0123\n", 0},
		{"too large", "2147483648\n", 0},
		{"very long", "123" + strings.Repeat("0", 1<<20) + "\n", 0},
		{"with spaces", " 123 \n", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := path(t)
			put(t, p, tt.text)
			wantInfo(t, p, pidfile.Info{State: pidfile.Stale, PID: tt.pid})
			wantText(t, p, tt.text) // reading changes nothing
			f := create(t, p)
			wantInfo(t, p, self)
			wantText(t, p, fmt.Sprintf("%d\n", os.Getpid()))
			if err := f.Close(); err != nil {
				t.Error(err)
			}
			wantInfo(t, p, absent)
		})
	}
}

// What is not a regular file is refused at once, with a name for it, and is left as it is.
func TestLock_irregular(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, want string
		make       func(t *testing.T, path string)
	}{
		{"directory", "a directory", func(t *testing.T, p string) { must(t, os.Mkdir(p, 0o755)) }},
		{"link to a file", "a symbolic link", func(t *testing.T, p string) {
			put(t, p+".target", "precious")
			must(t, os.Symlink(p+".target", p))
		}},
		{"link to nothing", "a symbolic link", func(t *testing.T, p string) { must(t, os.Symlink(p+".nothing", p)) }},
		{"link to itself", "a symbolic link", func(t *testing.T, p string) { must(t, os.Symlink(p, p)) }},
		{"named pipe", "a named pipe", func(t *testing.T, p string) { must(t, syscall.Mkfifo(p, 0o644)) }},
		{"socket", "a socket", func(t *testing.T, p string) {
			l, err := net.Listen("unix", p)
			must(t, err)
			t.Cleanup(func() { l.Close() })
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir, err := os.MkdirTemp("", "pidfile") // shorter than t.TempDir, for the socket
			must(t, err)
			t.Cleanup(func() { os.RemoveAll(dir) })
			p := filepath.Join(dir, "pid")
			tt.make(t, p)
			before, err := os.Lstat(p)
			must(t, err)
			_, lerr := pidfile.Lock(p)
			_, rerr := pidfile.Read(p)
			_, serr := pidfile.Signal(p, syscall.SIGTERM)
			for what, err := range map[string]error{"Lock": lerr, "Read": rerr, "Signal": serr, "Wait": pidfile.Wait(t.Context(), p)} {
				var perr *fs.PathError
				if !errors.As(err, &perr) || perr.Path != p || !strings.Contains(err.Error(), "it is "+tt.want) {
					t.Errorf("%s: got %v, want that %s is %s", what, err, p, tt.want)
				}
			}
			if after, err := os.Lstat(p); err != nil || after.Mode() != before.Mode() || !os.SameFile(before, after) {
				t.Errorf("it was changed: %v, %v", after, err)
			}
			if text, err := os.ReadFile(p + ".target"); err == nil && string(text) != "precious" {
				t.Errorf("the link's target was changed to %q", text)
			}
			if _, err := os.Lstat(p + ".nothing"); err == nil {
				t.Error("the link's target was created")
			}
		})
	}
}

func TestLock_device(t *testing.T) {
	t.Parallel()
	if _, err := pidfile.Lock(os.DevNull); err == nil || !strings.Contains(err.Error(), "it is a device") {
		t.Errorf("got %v, want that it is a device", err)
	}
}
