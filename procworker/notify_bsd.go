//go:build unix && !linux

package procworker

import (
	"errors"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const receiveFlags = 0

// listenNotify opens a socket in a directory that only this user, or the
// child's, can enter.
func listenNotify(owner *Credential) (conn *net.UnixConn, address string, remove func(), err error) {
	dir, err := os.MkdirTemp("/tmp", "notify") // TMPDIR may be too long for a socket
	if err != nil {
		return nil, "", nil, err
	}
	remove = func() { _ = os.RemoveAll(dir) }
	address = filepath.Join(dir, "s")
	conn, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: address})
	if err == nil && owner != nil {
		uid, gid := int(owner.UID), int(owner.GID)
		err = errors.Join(os.Chown(address, uid, gid), os.Chown(dir, uid, gid))
	}
	if err != nil {
		if conn != nil {
			_ = conn.Close()
		}
		remove()
		return nil, "", nil, err
	}
	return conn, address, remove, nil
}

func senderOf(_ *unix.SocketControlMessage, byDefault sender) sender { return byDefault }

// sent takes every sender: only this user, or the child's, can reach the
// socket.
func (*process) sent(sender) bool { return true }
