//go:build unix

package pidfile_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/poppobuilder/poppobuilder/pidfile"
)

// Fifty processes start at the same instant, again and again, while others read: exactly one wins each time, and
// nobody is told a number that is not the winner's. Winners end well or are killed, and files with the pid of a living
// stranger lie around.
func TestStarters(t *testing.T) {
	const starters, readers, rounds = 50, 2, 16
	p := path(t)
	fleet := make([]*child, starters)
	for i := range fleet {
		fleet[i] = start(t, "starter", p)
	}
	for _, c := range fleet {
		c.expect("up")
	}
	stranger := os.Getpid() // this process never holds the path
	stop := make(chan struct{})
	var reading sync.WaitGroup
	defer reading.Wait()
	defer close(stop)
	for range readers {
		reading.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				info, err := pidfile.Read(p)
				if err != nil {
					t.Errorf("Read: %v", err)
					return
				}
				if info.State == pidfile.Held && info.PID == stranger && numbersAreVouchedFor {
					t.Error("Read says that a stranger holds the path")
				}
				runtime.Gosched()
			}
		})
	}
	for round := range rounds {
		if round%4 == 3 {
			put(t, p, fmt.Sprintf("%d\n", stranger))
		}
		winner := race(t, fleet, stranger)
		c := fleet[winner]
		wantInfo(t, p, pidfile.Info{State: pidfile.Held, PID: c.pid()})
		if round%2 == 0 {
			c.tell("close")
			c.expect("closed <nil>")
			wantInfo(t, p, absent)
			continue
		}
		c.end()
		wantInfo(t, p, pidfile.Info{State: pidfile.Stale, PID: c.pid()})
		fleet[winner] = start(t, "starter", p)
		fleet[winner].expect("up")
	}
}

// race lets all of fleet start at once and returns who has won.
func race(t *testing.T, fleet []*child, stranger int) (winner int) {
	t.Helper()
	at := time.Now().Add(20 * time.Millisecond).UnixNano()
	for _, c := range fleet {
		c.tell("%d", at)
	}
	winner = -1
	said := make([]string, len(fleet))
	for i, c := range fleet {
		if said[i] = c.line(); said[i] != "won" {
			continue
		}
		if winner >= 0 {
			t.Fatalf("processes %d and %d have both won", fleet[winner].pid(), c.pid())
		}
		winner = i
	}
	if winner < 0 {
		t.Fatalf("nobody has won: %q", said)
	}
	for i, line := range said {
		switch line {
		case "won", "held by 0", fmt.Sprintf("held by %d", fleet[winner].pid()):
		case fmt.Sprintf("held by %d", stranger):
			if numbersAreVouchedFor {
				t.Errorf("process %d lost to a stranger", fleet[i].pid())
			}
		default:
			if numbersAreVouchedFor {
				t.Errorf("process %d said %q, but the winner is %d", fleet[i].pid(), line, fleet[winner].pid())
			}
		}
	}
	return winner
}

// In the moment between the lock and the truncation, the number in the file is not the holder's.
func TestRead_oldNumber(t *testing.T) {
	t.Parallel()
	if !numbersAreVouchedFor {
		t.Skip("flock has one lock only: the old number is seen for that moment, as the package comment says")
	}
	p := path(t)
	put(t, p, fmt.Sprintf("%d\n", os.Getppid()))
	f, err := pidfile.LockSteps(p, nil, func() {
		wantInfo(t, p, pidfile.Info{State: pidfile.Held})
		_, err := pidfile.LockSteps(p, nil, nil, true)
		wantHeld(t, err, p, 0)
		if _, err := pidfile.Signal(p, syscall.Signal(0)); !errors.Is(err, pidfile.ErrStarting) {
			t.Errorf("Signal: got %v, want ErrStarting", err)
		}
	}, true)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
}

// Programs that the holder has started do not keep its lock.
func TestLock_notInherited(t *testing.T) {
	t.Parallel()
	p := path(t)
	c := start(t, "parent", p)
	c.expect("started <nil>")
	c.expect("here")
	if err := c.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	c.cmd.Process.Wait()
	wantInfo(t, p, pidfile.Info{State: pidfile.Stale, PID: c.pid()})
	create(t, p)
	c.stdin.Close() // ends the bystander
}

func TestSignal(t *testing.T) {
	t.Parallel()
	p := path(t)
	_, err := pidfile.Signal(p, syscall.SIGUSR1)
	wantNotHeld(t, err, p, absent)

	c := start(t, "holder", p)
	c.expect("created <nil>")
	for range 3 {
		if pid, err := pidfile.Signal(p, syscall.SIGUSR1); err != nil || pid != c.pid() {
			t.Errorf("Signal: got %d, %v; want %d", pid, err, c.pid())
		}
		c.expect("got user defined signal 1")
	}
	c.end()
	_, err = pidfile.Signal(p, syscall.SIGUSR1)
	wantNotHeld(t, err, p, pidfile.Info{State: pidfile.Stale, PID: c.pid()})
}

func wantNotHeld(t *testing.T, err error, path string, info pidfile.Info) {
	t.Helper()
	var e *pidfile.NotHeldError
	if !errors.As(err, &e) || *e != (pidfile.NotHeldError{Path: path, Info: info}) {
		t.Errorf("got error %v, want that nobody holds %s: %+v", err, path, info)
	}
}

// A stranger whose number is in a stale file gets no signal, and neither does anybody for a holder without a number.
func TestSignal_stranger(t *testing.T) {
	t.Parallel()
	p := path(t)
	stranger := start(t, "bystander", p)
	stranger.expect("here")
	put(t, p, fmt.Sprintf("%d\n", stranger.pid()))
	_, err := pidfile.Signal(p, syscall.SIGKILL)
	wantNotHeld(t, err, p, pidfile.Info{State: pidfile.Stale, PID: stranger.pid()})

	c := start(t, "locker", p)
	c.expect("locked <nil>")
	if _, err := pidfile.Signal(p, syscall.SIGKILL); !errors.Is(err, pidfile.ErrStarting) {
		t.Errorf("Signal: got %v, want ErrStarting", err)
	}
	c.tell("write")
	c.expect("written <nil>")
	if pid, err := pidfile.Signal(p, syscall.SIGKILL); err != nil || pid != c.pid() {
		t.Errorf("Signal: got %d, %v; want %d", pid, err, c.pid())
	}
	c.cmd.Wait()

	stranger.tell("end well")
	if err := stranger.cmd.Wait(); err != nil {
		t.Errorf("the stranger ended with %v", err)
	}
}

// The holder has changed between the first look and the second one.
func TestSignal_changed(t *testing.T) {
	t.Parallel()
	p := path(t)
	create(t, p)
	stranger := start(t, "bystander", p)
	stranger.expect("here")
	was := pidfile.Info{State: pidfile.Held, PID: stranger.pid()}
	if done, err := pidfile.SignalHolder(p, was, syscall.SIGKILL); done || err != nil {
		t.Errorf("got %t, %v; want no signal", done, err)
	}
	stranger.tell("end well")
	if err := stranger.cmd.Wait(); err != nil {
		t.Errorf("the stranger ended with %v", err)
	}
}

func TestSignal_refusedBySystem(t *testing.T) {
	t.Parallel()
	p := path(t)
	create(t, p)
	if pid, err := pidfile.Signal(p, syscall.Signal(1000)); !errors.Is(err, syscall.EINVAL) || pid != os.Getpid() {
		t.Errorf("Signal: got %d, %v; want %d and EINVAL", pid, err, os.Getpid())
	}
}

// Another user can see the holder, but can neither signal it nor take its path nor make another one.
func TestOtherUser(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root can become another user")
	}
	p := path(t)
	if err := os.Chmod(filepath.Dir(filepath.Dir(p)), 0o755); err != nil { // t.TempDir makes it private
		t.Fatal(err)
	}
	create(t, p)
	c := start(t, "nobody", p)
	c.expect("read: held <nil>")
	c.expectPrefix(fmt.Sprintf("signal: %d true signal holder of pid file %s: process %[1]d: ", os.Getpid(), p))
	c.expectPrefix("lock: true lock pid file: ")
	if line := c.expectPrefix("new: true lock pid file: "); !strings.Contains(line, "must be able to write to the directory "+filepath.Dir(p)) {
		t.Errorf("the error does not tell what to do: %s", line)
	}
}

// Without room for the number, Create leaves nothing behind; after Lock the path stays held, and Write can be tried
// again.
func TestWrite_fullDisk(t *testing.T) {
	t.Parallel()
	p := path(t)
	c := start(t, "full disk", p)
	c.expectPrefix("create: true write pid file: ")
	wantInfo(t, p, absent)
	c.tell("lock")
	c.expect("lock: <nil>")
	c.expectPrefix("write: write pid file: ")
	wantInfo(t, p, pidfile.Info{State: pidfile.Held})
	wantText(t, p, "")
	c.tell("there is room again")
	c.expect("write: <nil>")
	wantInfo(t, p, pidfile.Info{State: pidfile.Held, PID: c.pid()})
	c.tell("close")
	c.expect("close: <nil>")
	wantInfo(t, p, absent)
}
