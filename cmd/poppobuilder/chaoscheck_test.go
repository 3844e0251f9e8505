//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/poppobuilder/poppobuilder/internal/api"
	"github.com/poppobuilder/poppobuilder/internal/runs"
)

// answerBound is generous: the promise is a second on a machine that is not
// busy. What was measured is logged at the end.
const answerBound = 5 * time.Second

// check asserts the invariants of the design that can be seen from outside.
func (c *chaos) check() {
	c.t.Helper()
	status := c.statusNow() // 8
	c.checkProcesses()      // 1, 2, 4
	c.checkOverlaps()       // 4
	c.checkRuns()           // 3, 7
	if status.State != api.StateRunning || len(status.Workers) != c.size {
		c.t.Errorf("the daemon is %s with %d workers, want %d", status.State, len(status.Workers), c.size)
	}
}

// statusNow asserts invariant 8.
func (c *chaos) statusNow() api.Status {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	begin := time.Now()
	s, err := c.client.Status(ctx)
	took := time.Since(begin)
	c.slowest = max(c.slowest, took)
	if err != nil || took > answerBound {
		c.t.Fatalf("status: %v after %v", err, took)
	}
	return s
}

// checkProcesses asserts, of what is alive at one moment: one master, no more
// workers than allowed and each number once, no worker with two runs, no
// project with two runs.
func (c *chaos) checkProcesses() {
	c.t.Helper()
	masters, workers := 0, make(map[string]int)
	runOfWorker, runOfProject := make(map[string]string), make(map[string]string)
	all := c.processes()
	one := func(of map[string]string, key, run, what string) {
		if other := of[key]; other != "" && other != run {
			c.t.Errorf("%s %s has two runs: %s and %s", what, key, other, run)
			c.show(all)
		}
		of[key] = run
	}
	for _, p := range all {
		switch {
		case p.isRun():
			one(runOfWorker, p.worker, p.run, "worker")
			one(runOfProject, p.project, p.run, "project")
		case p.isWorker():
			if workers[p.worker]++; workers[p.worker] > 1 {
				c.t.Errorf("there are two workers with number %s", p.worker)
				c.show(all)
			}
		case p.isMaster():
			masters++
		}
	}
	if masters != 1 || len(workers) > c.size {
		c.t.Errorf("there are %d masters and %d workers, want 1 and at most %d", masters, len(workers), c.size)
		c.show(all)
	}
}

func (c *chaos) show(all []proc) {
	for _, p := range all {
		c.t.Logf("%d worker=%s project=%s run=%s%.100s", p.pid, p.worker, p.project, p.run, p.command)
	}
}

// checkOverlaps looks whether a run has found another one of its project.
func (c *chaos) checkOverlaps() {
	c.t.Helper()
	found, _ := filepath.Glob(filepath.Join(c.dir, "*", "overlap"))
	for _, file := range found {
		text, _ := os.ReadFile(file)
		c.t.Errorf("%s: these runs found another one alive: %s", file, text)
	}
}

// nothingLeft asserts invariant 5.
func (c *chaos) nothingLeft() {
	c.t.Helper()
	const bound = 15 * time.Second // the promise is 5 s; the machine may be busy
	begin := time.Now()
	for {
		left := c.processes()
		took := time.Since(begin)
		if len(left) == 0 {
			c.longestEnd = max(c.longestEnd, took)
			return
		}
		if took > bound {
			c.show(left)
			c.t.Fatalf("%v after the daemon's end there is something alive", took)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// checkRuns asserts invariant 3, also of runs that an earlier daemon accepted: a
// run that was accepted is found again, and a final state stays. And invariant 7
// of output.
func (c *chaos) checkRuns() {
	c.t.Helper()
	ctx, cancel := c.ctx()
	defer cancel()
	list, err := c.client.Runs(ctx, api.RunFilter{Limit: api.MaxRunLimit})
	if err != nil {
		c.t.Fatal(err)
	}
	now := make(map[string]runs.State, len(list))
	running := make(map[string]int)
	for _, run := range list {
		now[run.ID] = run.State
		before, known := c.ledger[run.ID]
		if known && before.Final() && before != run.State {
			c.t.Errorf("run %s was %s and is %s", run.ID, before, run.State)
		}
		if run.State == runs.Running {
			running[run.Project]++
		}
		if run.State.Final() && (!known || !before.Final()) {
			c.ended[run.State]++
			c.checkOutput(run)
		}
	}
	for id, n := range running {
		if n > 1 {
			c.t.Errorf("%d runs of %s are said to be running", n, id)
		}
	}
	for id, state := range c.ledger {
		if _, there := now[id]; !there && !state.Final() { // final ones go when the history is full
			c.t.Errorf("run %s was %s and is forgotten", id, state)
		}
	}
	c.ledger = now
}

// checkOutput asserts that each line of a chatty run that succeeded is in the
// log, or counted. A log that was rotated is passed over.
func (c *chaos) checkOutput(run runs.Run) {
	c.t.Helper()
	if run.State != runs.Succeeded || !strings.HasPrefix(run.Project, "chatty-") {
		return
	}
	file := c.paths.ProjectLog(run.Project)
	if others, _ := filepath.Glob(strings.TrimSuffix(file, ".log") + "?*"); len(others) > 1 {
		return
	}
	text, err := os.ReadFile(file)
	if err != nil && !c.smallDisk {
		c.t.Error(err)
	}
	missing := int64(0)
	for n := range chattyLines {
		if !bytes.Contains(text, fmt.Appendf(nil, "%s line %d.\n", run.ID, n+1)) {
			missing++
		}
	}
	c.lines += chattyLines
	c.lost += run.LostLines
	if missing > run.LostLines {
		c.t.Errorf("of run %s %d lines are missing in %s, and %d are counted", run.ID, missing, file, run.LostLines)
	}
}

func containsAny(text []byte, words ...string) bool {
	for _, word := range words {
		if bytes.Contains(text, []byte(word)) {
			return true
		}
	}
	return false
}
