package busypoll_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/poppobuilder/poppobuilder/procworker/internal/busypoll"
)

// A flow is what goes through a file in one direction.
type flow struct {
	from, to *busypoll.File
	writes   []int // their sizes
	reads    []int // sizes of buffers, over and over again

	sent     []byte
	writeErr error // other than a deadline
	got      []byte
	readErr  error
}

func drawSizes(t *rapid.T, label string, least int) []int {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) int {
		return max(least, rapid.IntRange(0, 1<<rapid.IntRange(1, 18).Draw(t, "bits")).Draw(t, "size"))
	}), 1, 20).Draw(t, label)
}

// write counts as sent what Write says that it has taken, also when it was late.
func (f *flow) write() {
	next := byte(0)
	for _, size := range f.writes {
		p := make([]byte, size)
		for i := range p {
			p[i] = next
			next++
		}
		for again := true; again; {
			n, err := f.from.Write(p)
			f.sent = append(f.sent, p[:n]...)
			p = p[n:]
			again = errors.Is(err, os.ErrDeadlineExceeded)
			if err != nil && !again {
				f.writeErr = err
				return
			}
			if again {
				_ = f.from.SetWriteDeadline(time.Time{})
			}
		}
	}
}

func (f *flow) read() {
	for i := 0; ; i++ {
		p := make([]byte, f.reads[i%len(f.reads)])
		n, err := f.to.Read(p)
		f.got = append(f.got, p[:n]...)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			_ = f.to.SetReadDeadline(time.Time{})
		case err != nil:
			f.readErr = err
			return
		}
	}
}

// With a reader, a writer and others that set deadlines and close it, all at
// once, a File gives what was written, in order and once, and returns only
// errors that a file does.
func TestFileProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		near, far := busypoll.New(os.NewFile(uintptr(fds[0]), "near")), busypoll.New(os.NewFile(uintptr(fds[1]), "far"))
		flows := []*flow{{from: near, to: far}, {from: far, to: near}}
		var writers, readers, others sync.WaitGroup
		for _, f := range flows {
			f.writes, f.reads = drawSizes(t, "writes", 0), drawSizes(t, "reads", 1)
		}
		deadlines := rapid.SliceOfN(rapid.IntRange(-50, 200), 0, 20).Draw(t, "deadlines")
		early := rapid.IntRange(0, 3).Draw(t, "early") == 0
		for _, f := range flows {
			writers.Go(f.write)
			readers.Go(f.read)
		}
		others.Go(func() {
			for i, d := range deadlines {
				at := time.Now().Add(time.Duration(d) * time.Microsecond)
				for _, f := range []*busypoll.File{near, far}[i%2:] {
					if f.SetDeadline(at) != nil {
						return // closed
					}
				}
			}
		})
		if !early {
			writers.Wait()
			others.Wait()
			for _, fd := range fds { // the end comes behind all that was sent
				_ = unix.Shutdown(fd, unix.SHUT_WR)
			}
			_ = near.SetDeadline(time.Time{})
			_ = far.SetDeadline(time.Time{})
			readers.Wait()
		}
		if err := errors.Join(near.Close(), far.Close()); err != nil {
			t.Error(err)
		}
		writers.Wait()
		readers.Wait()
		others.Wait()
		for _, f := range flows {
			f.check(t, early)
		}
	})
}

func (f *flow) check(t *rapid.T, early bool) {
	if !bytes.HasPrefix(f.sent, f.got) || !early && len(f.got) != len(f.sent) {
		t.Errorf("%d bytes were sent, and %d came, or others", len(f.sent), len(f.got))
	}
	if !early && (f.writeErr != nil || f.readErr != io.EOF) {
		t.Errorf("Write = %v, Read = %v, want io.EOF", f.writeErr, f.readErr)
	}
	for _, err := range []error{f.writeErr, f.readErr} {
		path := (*os.PathError)(nil)
		switch {
		case err == nil, err == io.EOF:
		case !errors.As(err, &path):
			t.Errorf("%T is not what a file returns: %v", err, err)
		case errors.Is(err, os.ErrClosed), errors.Is(err, unix.EPIPE), errors.Is(err, unix.ECONNRESET):
		default:
			t.Errorf("a file would not say so: %v", err)
		}
	}
}
