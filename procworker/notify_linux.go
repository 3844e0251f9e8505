package procworker

import (
	"crypto/rand"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const receiveFlags = unix.MSG_CMSG_CLOEXEC

// listenNotify opens a socket with an abstract address (unix(7)): it needs no
// file that a crash would leave behind, and it is reached from any mount
// namespace. Anybody may send to it, so senders are checked.
func listenNotify(*Credential) (conn *net.UnixConn, address string, remove func(), err error) {
	address = "@poppobuilder/notify/" + rand.Text()
	conn, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: address})
	if err != nil {
		return nil, "", nil, err
	}
	raw, err := conn.SyscallConn()
	if err == nil {
		ctlErr := raw.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1)
		})
		if err == nil {
			err = ctlErr
		}
	}
	if err != nil {
		_ = conn.Close()
		return nil, "", nil, os.NewSyscallError("setsockopt", err)
	}
	return conn, address, func() {}, nil
}

// senderOf returns the sender that a control message names, or byDefault.
func senderOf(m *unix.SocketControlMessage, byDefault sender) sender {
	c, err := unix.ParseUnixCredentials(m)
	if err != nil {
		return byDefault
	}
	return sender{known: true, pid: int(c.Pid), uid: c.Uid}
}

// sent reports whether the sender of a notification belongs to the child: it is
// the child itself, or below it, in its group, or it carries its cookie. One
// that is gone by now, like a systemd-notify that did not wait for its barrier,
// must have had the user of the child or of this process.
func (p *process) sent(s sender) bool {
	if s.pid == p.pid {
		return true
	}
	if !s.known || s.pid == 0 {
		return false
	}
	for range senderTries {
		v := belongs(s.pid, p.pid, p.cookie)
		if v == prey || hangsBelow(s.pid, p.pid) {
			return true
		}
		if now, err := readStat(s.pid); isGone(err) || err == nil && now.dead() {
			return s.uid == p.uid || s.uid == uint32(os.Geteuid())
		}
		if v == stranger {
			return false
		}
		time.Sleep(time.Millisecond) // nothing tells when it has arrived
	}
	return false
}

// senderTries bounds, in milliseconds, how long a sender that is executing a
// program holds up what others have to say.
const senderTries = 20

// hangsBelow reports whether a process is a descendant of another one.
func hangsBelow(pid, ancestor int) bool {
	for range 1000 { // a loop is possible only when numbers are used again meanwhile
		s, err := readStat(pid)
		if err != nil || s.parent <= 1 {
			return false
		}
		if pid = s.parent; pid == ancestor {
			return true
		}
	}
	return false
}
