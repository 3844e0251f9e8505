package api

import (
	"net"
	"sync"
)

// A limitListener has at most cap(slots) connections open at once.
type limitListener struct {
	net.Listener
	slots  chan struct{}
	closed chan struct{}
	close  func() error // once
}

func newLimitListener(l net.Listener, n int) *limitListener {
	limited := &limitListener{Listener: l, slots: make(chan struct{}, n), closed: make(chan struct{})}
	limited.close = sync.OnceValue(func() error {
		close(limited.closed)
		return l.Close()
	})
	return limited
}

// Accept waits for a slot, then for a connection.
func (l *limitListener) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	conn, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &limitedConn{Conn: conn, release: sync.OnceFunc(func() { <-l.slots })}, nil
}

// Close closes the listener, and ends an Accept that waits for a slot.
func (l *limitListener) Close() error { return l.close() }

// A limitedConn gives its slot back when it is closed.
type limitedConn struct {
	net.Conn
	release func()
}

func (c *limitedConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}
