//go:build unix

package pidfile_test

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/poppobuilder/poppobuilder/pidfile"
)

// waiter is Wait, or a variant of it that a system has.
type waiter struct {
	name string
	wait func(context.Context, string) error
}

// The tests in this file are not parallel: they find the goroutine that waits by its stack.

func TestWait(t *testing.T) {
	for _, w := range waiters {
		for _, tt := range []struct {
			name string
			role string
			free func(t *testing.T, c *child, p string)
		}{
			{"the holder is killed", "holder", func(t *testing.T, c *child, p string) { c.end() }},
			{"the holder closes and lives on", "holder", func(t *testing.T, c *child, p string) { c.tell("close") }},
			{"the holder dies before it has written", "locker", func(t *testing.T, c *child, p string) { c.end() }},
			{"the holder writes late, then dies", "locker", func(t *testing.T, c *child, p string) {
				c.tell("write")
				c.expect("written <nil>")
				c.end()
			}},
			{"the file is removed", "holder", func(t *testing.T, c *child, p string) { must(t, os.Remove(p)) }},
			{"the file is moved away", "holder", func(t *testing.T, c *child, p string) { must(t, os.Rename(p, p+".old")) }},
			{"the file is replaced", "holder", func(t *testing.T, c *child, p string) {
				put(t, p+".new", "")
				must(t, os.Rename(p+".new", p))
			}},
		} {
			t.Run(w.name+"/"+tt.name, func(t *testing.T) {
				p := path(t)
				c := start(t, tt.role, p)
				c.expectPrefix(map[string]string{"holder": "created <nil>", "locker": "locked <nil>"}[tt.role])
				done := waiting(t, w, p)
				tt.free(t, c, p)
				expectDone(t, done)
				if info, err := pidfile.Read(p); err != nil || info.State == pidfile.Held {
					t.Errorf("after Wait, Read says %+v, %v", info, err)
				}
			})
		}
	}
}

// A loser that opens the file and closes it wakes the waiter, who goes back to sleep.
func TestWait_goesOn(t *testing.T) {
	for _, w := range waiters {
		t.Run(w.name, func(t *testing.T) {
			p := path(t)
			f := create(t, p)
			done := waiting(t, w, p)
			for range 20 {
				_, err := pidfile.Lock(p)
				wantHeld(t, err, p, os.Getpid())
				must(t, f.Write())
				select {
				case err := <-done:
					t.Fatalf("Wait returned %v while the path is held", err)
				default:
				}
			}
			must(t, f.Close())
			expectDone(t, done)
		})
	}
}

func TestWait_notHeld(t *testing.T) {
	for _, w := range waiters {
		t.Run(w.name, func(t *testing.T) {
			p := path(t)
			if err := w.wait(t.Context(), p); err != nil {
				t.Errorf("for an absent file: %v", err)
			}
			put(t, p, fmt.Sprintf("%d\n", os.Getppid()))
			if err := w.wait(t.Context(), p); err != nil {
				t.Errorf("for a stale file: %v", err)
			}
		})
	}
}

func TestWait_contextEnds(t *testing.T) {
	for _, w := range waiters {
		t.Run(w.name, func(t *testing.T) {
			p := path(t)
			create(t, p)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- w.wait(ctx, p) }()
			asleep(t)
			cancel()
			if err := <-done; err != context.Canceled {
				t.Errorf("got %v, want context.Canceled", err)
			}
			if err := w.wait(ctx, p); err != context.Canceled {
				t.Errorf("with a context that has ended: got %v, want context.Canceled", err)
			}
			ctx, cancel = context.WithTimeout(t.Context(), time.Millisecond)
			defer cancel()
			if err := w.wait(ctx, p); err != context.DeadlineExceeded {
				t.Errorf("got %v, want context.DeadlineExceeded", err)
			}
		})
	}
}

// A signal, then the end: what stop and restart do.
func TestWait_afterSignal(t *testing.T) {
	p := path(t)
	c := start(t, "holder", p)
	c.expect("created <nil>")
	if _, err := pidfile.Signal(p, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := pidfile.Wait(t.Context(), p); err != nil {
		t.Error(err)
	}
	create(t, p)
}

// waiting returns when a goroutine sleeps in w.
func waiting(t *testing.T, w waiter, p string) <-chan error {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- w.wait(context.Background(), p) }()
	asleep(t)
	return done
}

// asleep returns when a goroutine is blocked in Wait.
func asleep(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for buf := make([]byte, 1<<20); ; runtime.Gosched() {
		for goroutine := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			state, _, _ := strings.Cut(goroutine, "\n")
			blocked := strings.Contains(state, "[IO wait") || strings.Contains(state, "[select")
			if blocked && strings.Contains(goroutine, "pidfile.(*watch).sleep") {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Fatal("nobody waits")
		}
	}
}

func expectDone(t *testing.T, done <-chan error) {
	t.Helper()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("Wait: %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("Wait does not return")
	}
}
