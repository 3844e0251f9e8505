//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/poppobuilder/poppobuilder/internal/api"
)

// An action is one thing that happens to the daemon.
type action struct {
	name   string
	weight int // how often, in proportion
	do     func(*chaos)
}

// actions are what can happen. Each returns with the daemon running.
var actions = []action{
	{"kill a worker", 20, func(c *chaos) { c.hitOne(proc.isWorker, syscall.SIGKILL) }},
	{"end a worker", 8, func(c *chaos) { c.hitOne(proc.isWorker, syscall.SIGTERM) }},
	{"pause a worker", 8, func(c *chaos) { c.pause(proc.isWorker) }},
	{"kill a process of a run", 20, func(c *chaos) { c.hitOne(proc.isRun, syscall.SIGKILL) }},
	{"end a process of a run", 6, func(c *chaos) { c.hitOne(proc.isRun, syscall.SIGTERM) }},
	{"pause a process of a run", 6, func(c *chaos) { c.pause(proc.isRun) }},
	{"kill a worker and its run together", 6, (*chaos).killWorkerAndRun},
	{"kill the keeper", 3, func(c *chaos) {
		c.hitOne(func(p proc) bool { return strings.Contains(p.command, " keeper --lock ") }, syscall.SIGKILL)
	}},
	{"reload", 6, (*chaos).reload},
	{"reload an invalid file", 6, (*chaos).reloadInvalid},
	{"scale", 6, (*chaos).scale},
	{"ask for a run", 6, (*chaos).askForRun},
	{"cancel a run", 6, func(c *chaos) {
		c.ask(func(ctx context.Context, id string) error { _, err := c.client.CancelProject(ctx, id); return err })
	}},
	{"disable and enable a project", 5, (*chaos).disable},
	{"restart a worker", 5, (*chaos).restartWorker},
	{"pause the master", 4, func(c *chaos) { c.pause(proc.isMaster) }},
	{"kill the master", 3, func(c *chaos) { c.endMaster(syscall.SIGKILL); c.start() }},
	{"kill the master and start at once", 2, func(c *chaos) { c.hitOne(proc.isMaster, syscall.SIGKILL); c.start() }},
	{"kill the master and all workers", 2, (*chaos).killAll},
	{"end the master", 1, func(c *chaos) { c.endMaster(syscall.SIGTERM); c.start() }},
	{"restart", 1, func(c *chaos) { c.must("daemon", "restart"); c.daemons++ }},
	{"start twice more", 1, func(c *chaos) {
		var group sync.WaitGroup
		for range 2 {
			group.Go(func() { c.must("daemon", "start") })
		}
		group.Wait()
	}},
	{"fill or free the disk", 5, (*chaos).fillDisk},
}

// choose picks an action by the seed.
func (c *chaos) choose() action {
	total := 0
	for _, a := range actions {
		total += a.weight
	}
	n := c.random.IntN(total)
	for _, a := range actions {
		if n -= a.weight; n < 0 {
			return a
		}
	}
	panic("unreachable")
}

func (c *chaos) hitOne(fits func(proc) bool, sig syscall.Signal) {
	if p, ok := c.pick(fits); ok {
		p.hit(sig)
	}
}

// pause stops a process for a moment.
func (c *chaos) pause(fits func(proc) bool) {
	moment := time.Duration(c.random.IntN(100)) * time.Millisecond
	if p, ok := c.pick(fits); ok {
		p.hit(syscall.SIGSTOP)
		<-time.After(moment)
		p.hit(syscall.SIGCONT)
	}
}

func (c *chaos) killWorkerAndRun() {
	worker, ok := c.pick(proc.isWorker)
	if !ok {
		return
	}
	worker.hit(syscall.SIGSTOP)
	if run, ok := c.pick(func(p proc) bool { return p.isRun() && p.worker == worker.worker }); ok {
		run.hit(syscall.SIGKILL)
	}
	worker.hit(syscall.SIGKILL)
}

// endMaster ends the master by a signal, and asserts that nothing outlives it.
func (c *chaos) endMaster(sig syscall.Signal) {
	c.t.Helper()
	master, ok := c.pick(proc.isMaster)
	if !ok {
		c.t.Fatal("there is no master")
	}
	master.hit(sig)
	c.awaitDeath(master)
	c.nothingLeft()
}

func (c *chaos) killAll() {
	c.t.Helper()
	all := c.processes()
	for _, sig := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGKILL} {
		for _, p := range all {
			if p.isMaster() || p.isWorker() {
				p.hit(sig)
			}
		}
	}
	c.nothingLeft()
	c.start()
}

// start starts the daemon and returns when it is ready.
func (c *chaos) start() {
	c.t.Helper()
	c.must("daemon", "start")
	c.daemons++
}

// settings is the file of the settings.
func (c *chaos) settings(strategy string, size int) string {
	return fmt.Sprintf(`{
		// written by the chaos test
		"daemon": {"maxProcesses": %d, "schedulingStrategy": %q, "port": null, "shutdownTimeout": "300ms", "worker": {"readyTimeout": "1m"},
			"restart": {"initialDelay": 10, "maxDelay": 200, "resetAfter": 1000}},
		"defaults": {"retryAttempts": 1, "retryDelay": 50},
		"logging": {"maxSize": "1M", "maxFiles": 1},
		"history": {"maxRuns": 1000}, // each round looks at all of it
	}`, size, strategy)
}

func (c *chaos) write(text string) {
	c.t.Helper()
	if err := os.WriteFile(c.paths.Config, []byte(text), 0o600); err != nil {
		c.t.Fatal(err)
	}
}

func (c *chaos) ctx() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), patience)
}

func (c *chaos) reload() {
	c.t.Helper()
	c.apply([]string{"round-robin", "priority", "weighted", "fair"}[c.random.IntN(4)], c.size)
}

// scale changes the number of workers, and waits until they are as many.
func (c *chaos) scale() {
	c.t.Helper()
	c.apply(c.strategy, 5+c.random.IntN(6))
	c.await(fmt.Sprintf("%d workers", c.size), func(s api.Status) bool { return len(s.Workers) == c.size })
}

func (c *chaos) apply(strategy string, size int) {
	c.t.Helper()
	c.strategy, c.size = strategy, size
	c.write(c.settings(strategy, size))
	ctx, cancel := c.ctx()
	defer cancel()
	if _, err := c.client.Reload(ctx); err != nil {
		c.t.Fatalf("reload: %v", err)
	}
	if s := c.statusNow(); s.Strategy != strategy {
		c.t.Errorf("after a reload the strategy is %s, want %s", s.Strategy, strategy)
	}
}

// reloadInvalid asserts invariant 6.
func (c *chaos) reloadInvalid() {
	c.t.Helper()
	before := c.statusNow()
	c.write(strings.Replace(c.settings("fair", 1), `"maxProcesses": 1`, `"maxProcesses": "many"`, 1))
	ctx, cancel := c.ctx()
	defer cancel()
	_, err := c.client.Reload(ctx)
	c.write(c.settings(c.strategy, c.size))
	if problem, ok := errors.AsType[*api.Problem](err); !ok || !strings.Contains(problem.Error(), "maxProcesses") {
		c.t.Errorf("reload of an invalid file: %v", err)
	}
	if after := c.statusNow(); after.PID != before.PID || after.Strategy != before.Strategy || len(after.Workers) != len(before.Workers) {
		c.t.Errorf("an invalid file made of %+v: %+v", before, after)
	}
}

// ask asks for something that concerns a project. That it is refused, or takes
// longer, is all right.
func (c *chaos) ask(f func(context.Context, string) error) {
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	_ = f(ctx, c.projects[c.random.IntN(len(c.projects))])
}

// askForRun asks for a run, and sometimes kills the master when it has answered.
// What was accepted has to be found from now on.
func (c *chaos) askForRun() {
	c.ask(func(ctx context.Context, id string) error {
		run, err := c.client.RunProject(ctx, id)
		if err != nil {
			return err
		}
		c.asked++
		if _, known := c.ledger[run.ID]; !known {
			c.ledger[run.ID] = run.State
		}
		return nil
	})
	if c.random.IntN(4) == 0 {
		c.endMaster(syscall.SIGKILL)
		c.start()
	}
}

func (c *chaos) disable() {
	c.t.Helper()
	ctx, cancel := c.ctx()
	defer cancel()
	id := c.projects[c.random.IntN(len(c.projects))]
	for _, enabled := range []bool{false, true} {
		if _, err := c.client.SetProject(ctx, id, map[string]bool{"enabled": enabled}); err != nil {
			c.t.Errorf("set enabled of %s to %v: %v", id, enabled, err)
		}
	}
}

func (c *chaos) restartWorker() {
	ctx, cancel := c.ctx()
	defer cancel()
	_ = c.client.RestartWorker(ctx, c.random.IntN(c.size)) // it may have ended just now
}

// fillDisk takes all the room that logs have, or gives it back.
func (c *chaos) fillDisk() {
	if !c.smallDisk {
		return
	}
	filler := filepath.Join(c.paths.Logs, "filler")
	if os.Remove(filler) == nil {
		return
	}
	f, err := os.Create(filler)
	if err != nil {
		c.t.Fatal(err)
	}
	defer f.Close()
	for chunk := make([]byte, 64<<10); err == nil; {
		_, err = f.Write(chunk)
	}
}
