//go:build unix

package procworker

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// notifyBudget is how many datagrams are read after the child's end: more than
// the kernel keeps for a socket, while a stranger cannot go on for ever.
const notifyBudget = 4096

// longAgo is a deadline that has passed.
var longAgo = time.Unix(1, 0)

// A notifySocket is where a child sends its notifications.
type notifySocket struct {
	address string // for the child
	conn    *net.UnixConn
	raw     syscall.RawConn
	remove  func()

	quit   chan struct{} // closed by drain
	once   sync.Once
	budget int // used by the one reader
	buf    []byte
	oob    []byte
}

func newNotifySocket(owner *Credential) (*notifySocket, error) {
	conn, address, remove, err := listenNotify(owner)
	if err != nil {
		return nil, err
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		_ = conn.Close()
		remove()
		return nil, err
	}
	return &notifySocket{
		address: address, conn: conn, raw: raw, remove: remove,
		quit: make(chan struct{}), budget: notifyBudget,
		buf: make([]byte, notifyMaxLength),
		// For as many descriptors as one message may carry (unix(7)).
		oob: make([]byte, unix.CmsgSpace(253*4)+unix.CmsgSpace(64)),
	}, nil
}

// drain makes the reader stop waiting. The child is dead: what it has sent is
// there.
func (s *notifySocket) drain() {
	s.once.Do(func() {
		close(s.quit)
		_ = s.conn.SetReadDeadline(longAgo)
	})
}

func (s *notifySocket) close() {
	_ = s.conn.Close()
	s.remove()
}

// next returns the next datagram, or after drain io.EOF if there is none. The
// descriptors that come with one are closed, which is what the sender of
// BARRIER=1 waits for: what it has sent before has been acted upon.
func (s *notifySocket) next() (n notification, err error) {
	select {
	case <-s.quit:
		return s.nextNow()
	default:
	}
	readErr := s.raw.Read(func(fd uintptr) bool {
		n, err = s.receive(int(fd))
		return !errors.Is(err, unix.EAGAIN)
	})
	if errors.Is(readErr, os.ErrDeadlineExceeded) {
		return s.nextNow()
	}
	return n, errors.Join(readErr, err)
}

func (s *notifySocket) nextNow() (n notification, err error) {
	if s.budget--; s.budget < 0 {
		return n, io.EOF
	}
	ctlErr := s.raw.Control(func(fd uintptr) { n, err = s.receive(int(fd)) })
	if errors.Is(err, unix.EAGAIN) {
		err = io.EOF
	}
	return n, errors.Join(ctlErr, err)
}

func (s *notifySocket) receive(fd int) (notification, error) {
	for {
		size, oobSize, _, _, err := unix.Recvmsg(fd, s.buf, s.oob, unix.MSG_DONTWAIT|receiveFlags)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return notification{}, os.NewSyscallError("recvmsg", err)
		}
		n := notification{text: string(s.buf[:size])}
		messages, _ := unix.ParseSocketControlMessage(s.oob[:oobSize])
		for i := range messages {
			fds, err := unix.ParseUnixRights(&messages[i])
			if err != nil {
				n.sender = senderOf(&messages[i], n.sender)
				continue
			}
			for _, fd := range fds {
				_ = unix.Close(fd)
			}
		}
		return n, nil
	}
}
