package pidfile

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A watch sleeps until the holder of a pid file may be gone. The kernel wakes it by inotify(7) when the file is removed,
// moved, replaced or written to, and when a writer closes it, be it by its death. No thread blocks meanwhile: the
// runtime's poller waits for the descriptor like for a socket.
//
// The kernel tells of a close a moment before it drops the lock. So a sleep that follows an event is short, and each one
// after that is twice as long. This finds out, too, what inotify cannot see: the end of a holder on another machine.
type watch struct {
	events *os.File // from inotify; nil: the kernel has refused, so look at intervals
	next   time.Duration
}

const (
	minSleep = time.Millisecond
	maxSleep = time.Minute
)

func newWatch() *watch {
	w := &watch{next: minSleep}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return w
	}
	w.events = os.NewFile(uintptr(fd), "inotify")
	return w
}

// aim watches the file at path, which need not be the one that it has watched so far.
func (w *watch) aim(path string) {
	if w.events == nil {
		return
	}
	const mask = unix.IN_ATTRIB | unix.IN_CLOSE_WRITE | unix.IN_MODIFY | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF
	raw, err := w.events.SyscallConn()
	if err == nil {
		cerr := raw.Control(func(fd uintptr) {
			_, err = unix.InotifyAddWatch(int(fd), path, mask|unix.IN_DONT_FOLLOW)
		})
		err = errors.Join(err, cerr)
	}
	switch {
	case errors.Is(err, unix.ENOENT):
		w.next = minSleep // what the look finds, if anything, is newer than this and not watched
	case err != nil:
		w.giveUp()
	}
}

// sleep returns nil when it is time to look again, or ctx.Err() when ctx ends.
func (w *watch) sleep(ctx context.Context) error {
	events := w.events
	if events == nil {
		return pause(ctx, pollEvery)
	}
	if err := events.SetReadDeadline(time.Now().Add(w.next)); err != nil {
		return err
	}
	w.next = min(2*w.next, maxSleep)
	// Registered after the deadline is set, so that this one stays.
	stop := context.AfterFunc(ctx, func() { events.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	var buf [4096]byte // what the events say is found out by looking
	_, err := events.Read(buf[:])
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil
	case err == nil:
		w.next = minSleep
	}
	return err
}

// giveUp makes a watch that looks at intervals.
func (w *watch) giveUp() {
	w.close()
	w.events = nil
}

func (w *watch) close() {
	if w.events != nil {
		w.events.Close()
	}
}
