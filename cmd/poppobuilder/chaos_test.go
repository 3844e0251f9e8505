//go:build linux

package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/poppobuilder/poppobuilder/internal/api"
	"github.com/poppobuilder/poppobuilder/internal/runs"
)

// These variables say how the chaos test goes.
const (
	chaosSeedVariable   = "CHAOS_SEED"
	chaosRoundsVariable = "CHAOS_ROUNDS"
	chaosRounds         = 200
	// chaosTime ends it early on a machine that is busy, unless somebody has
	// said how many rounds it is to have.
	chaosTime = 90 * time.Second
)

// A chaos is a daemon to which everything happens.
type chaos struct {
	*testHome
	random    *rand.Rand
	client    *api.Client
	projects  []string
	strategy  string
	size      int  // workers
	smallDisk bool // logs have a small disk of their own

	ledger      map[string]runs.State // of all runs, at the last look
	ended       map[runs.State]int    // how many ends of runs were seen
	daemons     int
	doing       string
	asked       int           // runs that were accepted when the driver asked
	lines, lost int64         // of chatty runs that succeeded
	slowest     time.Duration // answer to a question for the status
	longestEnd  time.Duration // time until nothing was left of a daemon
}

// number reads a variable.
func number(t *testing.T, variable string, byDefault uint64) uint64 {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return byDefault
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return n
}

// Whatever happens to a daemon with 10 workers and 30 projects of all kinds: the
// invariants of the design hold after every round. The seed decides what
// happens; when it meets what, no seed can decide.
func TestChaos(t *testing.T) {
	t.Parallel()
	seed := number(t, chaosSeedVariable, uint64(time.Now().UnixNano()))
	rounds := int(number(t, chaosRoundsVariable, chaosRounds))
	t.Logf("%d rounds; once more: %s=%d %s=%d go test -run '^TestChaos$' -v ./cmd/poppobuilder", rounds, chaosSeedVariable, seed, chaosRoundsVariable, rounds)
	c := newChaos(t, seed)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("in seed %d, %s", seed, c.doing)
		}
	})
	begin := time.Now()
	done := 0
	for ; done < rounds; done++ {
		if os.Getenv(chaosRoundsVariable) == "" && time.Since(begin) > chaosTime {
			t.Logf("ends early, after %v", chaosTime)
			break
		}
		a := c.choose()
		c.doing = fmt.Sprintf("round %d: %s", done, a.name)
		a.do(c)
		c.check()
		if t.Failed() {
			t.FailNow()
		}
		if (done+1)%500 == 0 {
			t.Logf("%d rounds in %v", done+1, time.Since(begin).Round(time.Second))
		}
	}
	took := time.Since(begin)
	c.finish()
	t.Logf("%d rounds in %v, %d daemons, %d runs were asked for, runs that ended: %v", done, took.Round(time.Millisecond), c.daemons, c.asked, c.ended)
	t.Logf("slowest status %v, longest end %v, %d lines checked, %d of them counted as lost", c.slowest.Round(time.Millisecond), c.longestEnd.Round(time.Millisecond), c.lines, c.lost)
}

// buildTest builds this test binary without the race detector.
func buildTest(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "poppobuilder.test")
	if out, err := exec.Command("go", "test", "-c", "-race=false", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return program
}

func newChaos(t *testing.T, seed uint64) *chaos {
	t.Helper()
	c := &chaos{
		testHome: newHome(t, ""),
		random:   rand.New(rand.NewPCG(seed, 0)),
		strategy: "round-robin",
		size:     10,
		ended:    make(map[runs.State]int),
		ledger:   make(map[string]runs.State),
	}
	if os.Getenv(chaosRoundsVariable) == "" {
		// Under the race detector a daemon with its ten workers takes seconds to
		// start, so the short run does without it in them. The driver and the
		// checks have it; a long run has it everywhere, or nowhere.
		c.program = buildTest(t)
	}
	c.cgroups = seed%2 == 1 // else the other means have to do
	c.client = api.NewClient(c.paths.Socket)
	c.client.Timeout = patience
	t.Cleanup(c.client.Close)
	c.write(c.settings(c.strategy, c.size))
	c.addProjects()
	c.mountLogs()
	c.start()
	return c
}

// mountLogs gives the logs a disk that is soon full.
func (c *chaos) mountLogs() {
	c.t.Helper()
	if err := os.Mkdir(c.paths.Logs, 0o700); err != nil {
		c.t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", c.paths.Logs, "tmpfs", 0, "size=24m,mode=0700"); err != nil {
		c.t.Logf("the disk will not be full: mount a small one: %v", err)
		return
	}
	c.smallDisk = true
	c.t.Cleanup(func() {
		if c.t.Failed() {
			log, _ := os.ReadFile(c.paths.DaemonLog)
			c.t.Logf("the daemon says:\n%s", log[max(0, len(log)-20_000):])
		}
		if err := unix.Unmount(c.paths.Logs, unix.MNT_DETACH); err != nil {
			c.t.Errorf("unmount the small disk: %v", err)
		}
	})
}

// finish lets every run come to its end, and stops the daemon.
func (c *chaos) finish() {
	c.t.Helper()
	ctx, cancel := c.ctx()
	defer cancel()
	for _, id := range c.projects {
		if _, err := c.client.SetProject(ctx, id, map[string]bool{"enabled": false}); err != nil {
			c.t.Error(err)
		}
	}
	c.await("all runs to be over", func(s api.Status) bool { return s.Queue == api.Queue{} })
	c.checkRuns()
	for id, state := range c.ledger {
		if !state.Final() {
			c.t.Errorf("run %s is %s for ever", id, state)
		}
	}
	c.must("daemon", "stop")
	c.nothingLeft()
	if log, _ := os.ReadFile(c.paths.DaemonLog); containsAny(log, "DATA RACE", "panic", "fatal error") {
		c.t.Errorf("the daemon's log tells of a crash")
	}
}
