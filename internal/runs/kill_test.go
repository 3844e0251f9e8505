package runs_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"github.com/poppobuilder/poppobuilder/internal/runs"
)

// killPoints are the steps of a run between which a master may die.
var killPoints = []string{
	"write",    // the transaction is made
	"written",  // it is on disk
	"ack",      // whoever asked was told
	"send",     // the worker is told
	"start",    // the command runs
	"finish",   // it has ended
	"finished", // and the dispatcher heard of it
}

const (
	hunts        = 8
	killsAtPoint = 10 // of each hunt
)

// A master that is killed at whatever step forgets nothing: every run that was
// accepted ends in one final state, and that for good; none is started twice;
// no project has two at once; and the file stays whole.
func TestKilledAtEveryStep(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: it starts some hundred processes")
	}
	program := buildVictim(t)
	for i := range hunts {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			t.Parallel()
			h := &hunt{t: t, program: program, dir: t.TempDir(), finals: map[string]runs.Run{}}
			rounds := rapid.Permutation(slices.Repeat(killPoints, killsAtPoint)).Example(i)
			passed := rapid.IntRange(0, 12)
			for n, point := range rounds {
				h.kill(point, passed.Example(i*len(rounds)+n))
				h.check(false)
			}
			if out, err := h.send("never", 0); err != nil {
				t.Fatalf("the last one: %v: %s", err, out)
			}
			h.check(true)
			t.Logf("%d kills, %d at each of %v: %d runs were accepted, %d started, %d ended",
				len(rounds), killsAtPoint, killPoints, len(h.accepted), h.started, len(h.finals))
		})
	}
}

// buildVictim builds the program that is killed, without the race detector.
func buildVictim(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "victim")
	build := exec.Command("go", "build", "-race=false", "-o", program, "./internal/victim")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return program
}

// A hunt is a series of victims with one home.
type hunt struct {
	t        *testing.T
	program  string
	dir      string
	accepted []string
	started  int
	finals   map[string]runs.Run // as they were found first
}

// send starts a victim and waits for its end.
func (h *hunt) send(point string, passed int) ([]byte, error) {
	return exec.Command(h.program, h.dir, point, strconv.Itoa(passed)).CombinedOutput()
}

// kill has a victim die by SIGKILL at a point.
func (h *hunt) kill(point string, passed int) {
	h.t.Helper()
	out, err := h.send(point, passed)
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		h.t.Fatalf("victim at %s, passed %d times: %v: %s", point, passed, err, out)
	}
}

// check compares the journal with the file. At the end, nothing is unfinished.
func (h *hunt) check(end bool) {
	h.t.Helper()
	db, err := runs.Open(filepath.Join(h.dir, "runs.db"), runs.Options{Limits: runs.Limits{MaxRuns: 1 << 20}, NoSync: true})
	if err != nil {
		h.t.Fatal(err)
	}
	defer db.Close()
	if health := db.Health(); health != (runs.Health{}) {
		h.t.Fatalf("health is %+v", health)
	}
	h.readJournal()
	known, open := map[string]bool{}, map[string]int{}
	for _, run := range db.List(runs.Filter{}) {
		known[run.ID] = true
		if !run.State.Final() {
			if open[run.Project]++; open[run.Project] > 3 || end {
				h.t.Errorf("%s is %s", run.ID, run.State)
			}
			continue
		}
		before, again := h.finals[run.ID]
		if again && (before.State != run.State || !before.FinishedAt.Equal(run.FinishedAt)) {
			h.t.Fatalf("a run that had ended as\n%+v\nis\n%+v", before, run)
		}
		h.finals[run.ID] = run
	}
	for _, id := range h.accepted {
		if !known[id] {
			h.t.Fatalf("run %s was accepted and is forgotten", id)
		}
	}
}

// readJournal reads what the victims have done.
func (h *hunt) readJournal() {
	h.t.Helper()
	text, err := os.ReadFile(filepath.Join(h.dir, "journal"))
	if err != nil {
		h.t.Fatal(err)
	}
	h.accepted, h.started = nil, 0
	starts := map[string]int{}
	for line := range strings.Lines(string(text)) {
		var what, id string
		if _, err := fmt.Sscan(line, &what, &id); err != nil {
			h.t.Fatalf("journal: %q", line)
		}
		switch what {
		case "accepted":
			h.accepted = append(h.accepted, id)
		case "start":
			h.started++
			if starts[id]++; starts[id] > 1 {
				h.t.Fatalf("run %s was started twice", id)
			}
		case "twice":
			h.t.Fatalf("run %s was started beside another one of its project", id)
		}
	}
}
