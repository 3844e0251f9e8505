package api

import (
	"context"
	"net"
	"os"
)

type peerKey struct{}

// A peer is the process at the other end of a unix socket.
type peer struct {
	uid int
	err error // why uid is not known
}

// withPeer notes who is at the other end, if conn is a unix socket.
func withPeer(ctx context.Context, conn net.Conn) context.Context {
	if c, ok := conn.(*limitedConn); ok {
		conn = c.Conn
	}
	unixConn, ok := conn.(*net.UnixConn)
	if !ok {
		return ctx
	}
	var p peer
	raw, err := unixConn.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { p.uid, p.err = peerUID(int(fd)) })
	}
	if err != nil {
		p.err = err
	}
	return context.WithValue(ctx, peerKey{}, p)
}

// trusted reports whether the peer is this process's own user, or root.
func (p peer) trusted() bool {
	return p.err == nil && (p.uid == 0 || p.uid == os.Geteuid())
}
