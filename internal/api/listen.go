package api

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// MaxSocketPath is the longest path, in bytes, that a unix socket can have on
// this system: unix(7) gives sun_path 108 bytes on Linux and 104 elsewhere,
// the final zero included.
const MaxSocketPath = len(unix.RawSockaddrUnix{}.Path) - 1

// ListenUnix listens on a unix socket that only this user can reach, from the
// first moment on: its mode is 0600, and the directory's 0700 where it has to
// be made.
//
// A socket that nobody listens on any more, the trace of a crash, is
// replaced. The caller holds the daemon's pid file, or it may take away the
// socket that a second daemon is just about to listen on. A socket that
// somebody listens on, and a file that is no socket, are left alone.
//
// Closing the listener removes the socket.
func ListenUnix(path string) (net.Listener, error) {
	if err := checkSocketPath(path); err != nil {
		return nil, fmt.Errorf("listen on socket: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("listen on socket %s: %w; make the directory writable, or set POPPOBUILDER_HOME to another one", path, err)
	}
	if err := removeDeadSocket(path); err != nil {
		return nil, fmt.Errorf("listen on socket %s: %w", path, err)
	}
	l, err := listenPrivately(path)
	if err != nil {
		return nil, fmt.Errorf("listen on socket %s: %w; make the directory writable, or set POPPOBUILDER_HOME to another one", path, errno(err))
	}
	return l, nil
}

func checkSocketPath(path string) error {
	if len(path) > MaxSocketPath {
		return fmt.Errorf("the path %s has %d bytes, but a socket's may have at most %d; set POPPOBUILDER_HOME to a shorter directory",
			path, len(path), MaxSocketPath)
	}
	return nil
}

func removeDeadSocket(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return errors.New("a file that is not a socket is in the way; move it elsewhere")
	}
	conn, err := net.Dial("unix", path)
	if err == nil {
		conn.Close()
		return fmt.Errorf("%w: another process listens there; stop it first", syscall.EADDRINUSE)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("cannot tell whether another process listens there: %w", errno(err))
	}
	return os.Remove(path)
}

// ListenTCP listens on the loopback. The host is a loopback address or
// "localhost", the port 0 (any free one) to 65535. The errors name the
// settings that they come from, daemon.host and daemon.port.
func ListenTCP(host string, port int) (net.Listener, error) {
	address := net.JoinHostPort(host, strconv.Itoa(port))
	if !isLoopbackHost(host) {
		return nil, fmt.Errorf("listen on %s: daemon.host is not on the loopback; set it to 127.0.0.1, ::1 or localhost", address)
	}
	l, err := net.Listen("tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("listen on %s: %w: another program has port %d; set daemon.port to another one, to 0 for any free one, or to null for none",
			address, syscall.EADDRINUSE, port)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("listen on %s: %w; set daemon.port to 1024 or more", address, errno(err))
	case err != nil:
		return nil, fmt.Errorf("listen on %s: %w; check daemon.host and daemon.port", address, errno(err))
	}
	return l, nil
}

// isLoopbackHost reports whether a host, without its port, stands for this
// machine and nothing else, whatever a name server says.
func isLoopbackHost(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

// errno returns the system's error at the bottom of one of package net's,
// whose text repeats the address.
func errno(err error) error {
	var e syscall.Errno
	if errors.As(err, &e) {
		return e
	}
	return err
}
