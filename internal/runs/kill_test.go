package runs_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"github.com/poppobuilder/poppobuilder/internal/runs"
)

// kills is how often each of the kill tests kills; there are killTests of them.
const (
	kills     = 140
	killTests = 4
)

// A master that is killed at whatever step forgets nothing: every run that was
// accepted ends in one final state, and that for good; none is started twice;
// no project has two at once; and the file stays whole.
func TestKilledAtEveryStep(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: it starts some hundred processes")
	}
	for i := range killTests {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			t.Parallel()
			h := &hunt{t: t, dir: t.TempDir(), finals: map[string]runs.Run{}}
			step := rapid.Custom(func(t *rapid.T) string {
				return rapid.SampledFrom(killPoints).Draw(t, "point") + "|" + strconv.Itoa(rapid.IntRange(0, 12).Draw(t, "times"))
			})
			for n := range kills {
				h.send(step.Example(i*kills + n))
				h.check(false)
			}
			h.send("never|0")
			h.check(true)
			t.Logf("%d kills, %d runs were accepted, %d started, %d ended", kills, len(h.accepted), h.started, len(h.finals))
		})
	}
}

// A hunt is a series of victims with one home.
type hunt struct {
	t        *testing.T
	dir      string
	accepted []string
	started  int
	finals   map[string]runs.Run // as they were found first
}

// send starts a victim and waits for its end.
func (h *hunt) send(how string) {
	h.t.Helper()
	var out strings.Builder
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), victimVariable+"="+h.dir+"|"+how, "GORACE=atexit_sleep_ms=0")
	c.Stdout, c.Stderr = &out, &out
	err := c.Run()
	if strings.HasPrefix(how, "never") {
		if err != nil {
			h.t.Fatalf("the last one: %v: %s", err, out.String())
		}
		return
	}
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		h.t.Fatalf("victim %s: %v: %s", how, err, out.String())
	}
}

// check compares the journal with the file. At the end, nothing is unfinished.
func (h *hunt) check(end bool) {
	h.t.Helper()
	db, err := runs.Open(filepath.Join(h.dir, "runs.db"), runs.Options{Limits: victimLimits, NoSync: true})
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
