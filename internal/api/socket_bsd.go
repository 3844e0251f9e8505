//go:build darwin || freebsd

package api

import (
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// listenPrivately binds a socket with mode 0600. The umask, which is the whole
// process's, is 077 meanwhile: a file that is made at the same moment can only
// become more private. It must not be called twice at once.
func listenPrivately(path string) (net.Listener, error) {
	umask := unix.Umask(0o077)
	l, err := net.Listen("unix", path)
	unix.Umask(umask)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// peerUID returns the effective user of the process that connected.
func peerUID(fd int) (int, error) {
	cred, err := unix.GetsockoptXucred(fd, unix.SOL_LOCAL, unix.LOCAL_PEERCRED)
	if err != nil {
		return 0, err
	}
	return int(cred.Uid), nil
}
