package api_test

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/poppobuilder/poppobuilder/internal/api"
)

// deadSocket makes a socket that nobody listens on, as a crash leaves it. It
// was never listened on: a child that another test forks at this moment would
// keep such a one alive until it calls exec.
func deadSocket(t *testing.T) string {
	t.Helper()
	path := t.TempDir() + "/dead.sock"
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestListenUnix(t *testing.T) {
	t.Parallel()
	for name, path := range map[string]string{
		"new directory": filepath.Join(t.TempDir(), "sockets", "d.sock"),
		"dead socket":   deadSocket(t),
	} {
		l, err := api.ListenUnix(path)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode() != os.ModeSocket|0o600 {
			t.Errorf("%s: mode %v, %v, want 0600", name, info.Mode(), err)
		}
		if info, err := os.Stat(filepath.Dir(path)); name == "new directory" && (err != nil || info.Mode().Perm() != 0o700) {
			t.Errorf("%s: directory has mode %v, %v, want 0700", name, info.Mode(), err)
		}
		l.Close()
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: socket is there after Close: %v", name, err)
		}
	}
}

func TestListenUnix_refuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink("file", link); err != nil {
		t.Fatal(err)
	}
	live, err := api.ListenUnix(filepath.Join(dir, "live.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer live.Close()
	for _, tt := range []struct {
		name, path string
		want       []string // in the error
	}{
		{"too long", filepath.Join(dir, strings.Repeat("x", api.MaxSocketPath)), []string{"bytes", strconv.Itoa(api.MaxSocketPath), "POPPOBUILDER_HOME"}},
		{"file in the way", file, []string{"not a socket", "move it"}},
		{"link in the way", link, []string{"not a socket"}},
		{"file as directory", filepath.Join(file, "d.sock"), []string{"not a directory", "POPPOBUILDER_HOME"}},
		{"live socket", live.Addr().String(), []string{"another process listens"}},
	} {
		l, err := api.ListenUnix(tt.path)
		if err == nil {
			l.Close()
			t.Errorf("%s: no error", tt.name)
			continue
		}
		for _, want := range append(tt.want, tt.path, "listen on socket") {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q lacks %q", tt.name, err, want)
			}
		}
	}
	if data, err := os.ReadFile(file); string(data) != "precious" {
		t.Errorf("the file in the way has %q, %v", data, err)
	}
	if conn, err := net.Dial("unix", live.Addr().String()); err != nil {
		t.Errorf("the live socket was stolen: %v", err)
	} else {
		conn.Close()
	}
}

// TestListenUnix_longestPath binds a path of exactly MaxSocketPath bytes.
func TestListenUnix_longestPath(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("/tmp", "api")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := dir + "/" + strings.Repeat("x", api.MaxSocketPath-len(dir)-1)
	l, err := api.ListenUnix(path)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
}

// TestListenUnix_readOnly uses a read-only mount, because a mode stops no root.
func TestListenUnix_readOnly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "ro", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("cannot mount: %v: %s", err, out)
	}
	defer func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	}()
	for _, path := range []string{dir + "/d.sock", dir + "/sockets/d.sock"} {
		_, err := api.ListenUnix(path)
		if !errors.Is(err, syscall.EROFS) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "POPPOBUILDER_HOME") {
			t.Errorf("got %v, want a read-only file system, the path and the next step", err)
		}
	}
}

func TestListenTCP(t *testing.T) {
	t.Parallel()
	for _, host := range []string{"127.0.0.1", "localhost", "127.0.0.2"} {
		l, err := api.ListenTCP(host, 0)
		if err != nil {
			t.Errorf("%s: %v", host, err)
			continue
		}
		defer l.Close()
		addr := l.Addr().(*net.TCPAddr)
		if !addr.IP.IsLoopback() || addr.Port == 0 {
			t.Errorf("%s: listens on %s", host, addr)
		}
		_, err = api.ListenTCP(host, addr.Port)
		if !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("%s: second one: got %v, want EADDRINUSE", host, err)
			continue
		}
		for _, want := range []string{"address already in use", strconv.Itoa(addr.Port), "daemon.port"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q lacks %q", err, want)
			}
		}
	}
}

func TestListenTCP_refuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		host string
		port int
		want string
	}{
		{"0.0.0.0", 0, "daemon.host"},
		{"::", 0, "daemon.host"},
		{"", 0, "daemon.host"},
		{"192.0.2.7", 0, "daemon.host"},
		{"example.com", 0, "daemon.host"},
		{"127.0.0.1", 70000, "daemon.port"},
		{"127.0.0.1", -1, "daemon.port"},
	} {
		l, err := api.ListenTCP(tt.host, tt.port)
		if err == nil {
			l.Close()
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q, %d: got %v, want %q", tt.host, tt.port, err, tt.want)
		}
	}
}
