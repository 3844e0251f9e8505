package procworker_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/poppobuilder/poppobuilder/procworker"
)

// Children are not among those of the main thread, where the orphans are: at
// the end of each, all that is there is looked at.
func TestChildrenAreNotAmongTheOrphans(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(self)
	// With one processor the main thread would be the one that starts them.
	c.Env = append(os.Environ(), envChild+"=parent", "GOMAXPROCS=1")
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = c.Process.Kill() // its child dies with it
		_ = c.Wait()
	}()
	child, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", c.Process.Pid))
	if err != nil {
		t.Skip(err)
	}
	if slices.Contains(strings.Fields(string(children)), strings.TrimSpace(child)) {
		t.Errorf("child %s is among %s", child, children)
	}
}

// A child that is not wanted any more before it is its turn is not started:
// with many at once, a stop would wait for all of them.
func TestStopBeforeTheStart(t *testing.T) {
	release := procworker.OccupySpawner()
	release = sync.OnceFunc(release)
	defer release()
	w := &procworker.Worker{Command: []string{"true"}}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- w.Serve(ctx) }()
	for w.Snapshot().State != procworker.StateStarting {
		runtime.Gosched()
	}
	cancel()
	select {
	case err := <-served:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Serve = %v, want %v", err, context.Canceled)
		}
	case <-time.After(30 * time.Second):
		t.Error("Serve waits for its turn")
	}
	if s := w.Snapshot(); s.State != procworker.StateStopped || s.LastExit != nil || s.PID != 0 {
		t.Errorf("it is %+v", s)
	}
	release()
	if err := w.Serve(t.Context()); err != nil {
		t.Errorf("the next one: %v", err)
	}
}
