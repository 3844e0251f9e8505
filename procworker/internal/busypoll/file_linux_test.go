package busypoll_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/poppobuilder/poppobuilder/procworker/internal/busypoll"
)

// What is used rarely costs nothing but its reads, and so does what others would
// have to wait for.
func TestReaderLooksOnlyWhereDataIsDense(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		defer busypoll.Crowd(false)
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
		for _, c := range []struct {
			waited     time.Duration
			crowded    bool
			processors int
			want       bool
		}{
			{0, false, 2, true},
			{99 * time.Microsecond, false, 2, true},
			{100 * time.Microsecond, false, 2, false},
			{time.Hour, false, 2, false},
			{0, true, 2, false},
			{0, false, 1, false},
		} {
			runtime.GOMAXPROCS(c.processors)
			busypoll.Crowd(c.crowded)
			if got := busypoll.EagerAfter(c.waited); got != c.want {
				t.Errorf("%+v: %v", c, got)
			}
		}
		busypoll.Crowd(true)
		time.Sleep(20 * time.Millisecond)
		runtime.GOMAXPROCS(2)
		if !busypoll.EagerAfter(0) {
			t.Error("the crowd is gone, and it does not look")
		}
	})
}

// Only what certainly does not block is read without the scheduler's knowing.
func TestNew(t *testing.T) {
	t.Parallel()
	pipe := func(flags int) *os.File {
		var fds [2]int
		if err := unix.Pipe2(fds[:], flags|unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fds[1]) })
		return os.NewFile(uintptr(fds[0]), "pipe")
	}
	socket := func(kind int) *os.File {
		fds, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fds[1]) })
		return os.NewFile(uintptr(fds[0]), "socket")
	}
	regular, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	blocked := pipe(unix.O_NONBLOCK)
	if err := unix.SetNonblock(int(blocked.Fd()), false); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		file *os.File
		want bool
	}{
		{"pipe", pipe(unix.O_NONBLOCK), true},
		{"blocking pipe", pipe(0), false},
		{"pipe set to blocking", blocked, false},
		{"stream", socket(unix.SOCK_STREAM), true},
		{"datagrams", socket(unix.SOCK_DGRAM), false},
		{"packets", socket(unix.SOCK_SEQPACKET), false},
		{"regular file", regular, false},
	} {
		f := busypoll.New(c.file)
		if got := f.IsFast(); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
		if err := f.Close(); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if f := busypoll.New(c.file); f.IsFast() {
			t.Errorf("%s: fast when it is closed", c.name)
		}
	}
}

// Errors, ends and deadlines are those of the file itself.
func TestFileIsItsFile(t *testing.T) {
	t.Parallel()
	for _, wrap := range []func(*os.File) io.ReadWriteCloser{
		func(f *os.File) io.ReadWriteCloser { return f },
		func(f *os.File) io.ReadWriteCloser { return busypoll.New(f) },
	} {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		near, far := wrap(os.NewFile(uintptr(fds[0]), "near")), os.NewFile(uintptr(fds[1]), "far")
		deadlines := near.(interface {
			SetReadDeadline(time.Time) error
			SetWriteDeadline(time.Time) error
		})
		buf := make([]byte, 10)
		check := func(what string, n int, err error, wantN int, want error) {
			t.Helper()
			if n != wantN || !errors.Is(err, want) {
				t.Errorf("%T: %s = %d, %v, want %d, %v", near, what, n, err, wantN, want)
			}
		}
		n, err := near.Write([]byte("abc"))
		check("Write", n, err, 3, nil)
		n, err = far.Read(buf)
		check("far Read", n, err, 3, nil)
		n, err = near.Read(nil)
		check("Read of nothing", n, err, 0, nil)
		_ = deadlines.SetReadDeadline(time.Unix(1, 0))
		n, err = near.Read(buf)
		check("late Read", n, err, 0, os.ErrDeadlineExceeded)
		_ = deadlines.SetReadDeadline(time.Time{})
		_, _ = far.Write([]byte("de"))
		n, err = near.Read(buf)
		check("Read", n, err, 2, nil)

		// More than there is room for: what went is told.
		written := make(chan int)
		go func() {
			n, err := near.Write(make([]byte, 4<<20))
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%T: late Write = %v", near, err)
			}
			written <- n
		}()
		if _, err := far.Read(buf[:1]); err != nil {
			t.Fatal(err)
		}
		_ = deadlines.SetWriteDeadline(time.Unix(1, 0))
		if n := <-written; n == 0 || n == 4<<20 {
			t.Errorf("%T: late Write = %d", near, n)
		}
		_ = deadlines.SetWriteDeadline(time.Time{})

		far.Close() // with bytes unread, so that the kernel reports a reset
		n, err = near.Write([]byte("x"))
		check("Write to nobody", n, err, 0, unix.EPIPE)
		n, err = near.Read(buf)
		if n != 0 || !errors.Is(err, unix.ECONNRESET) && !errors.Is(err, io.EOF) {
			t.Errorf("%T: Read from nobody = %d, %v", near, n, err)
		}
		near.Close()
		n, err = near.Read(buf)
		check("Read of a closed file", n, err, 0, os.ErrClosed)
		n, err = near.Write([]byte("x"))
		check("Write to a closed file", n, err, 0, os.ErrClosed)
	}
}

// A reader that looks, sleeps and looks again gets every byte in order.
func TestPipeIsWhole(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	want := bytes.Repeat([]byte("0123456789abcdef"), 64<<10)
	go func() {
		defer w.Close()
		for rest, n := want, 1; len(rest) > 0; n = n*3%50_021 + 1 {
			n = min(n, len(rest))
			if _, err := w.Write(rest[:n]); err != nil {
				t.Error(err)
			}
			rest = rest[n:]
		}
	}()
	f := busypoll.New(r)
	defer f.Close()
	got, err := io.ReadAll(f)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %d bytes, %v, want %d", len(got), err, len(want))
	}
}
