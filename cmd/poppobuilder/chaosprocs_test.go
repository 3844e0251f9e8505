//go:build linux

package main

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/poppobuilder/poppobuilder/internal/config"
)

// A proc is a process of the home, as the kernel shows it.
type proc struct {
	pid, parent  int
	start        string // with pid, a name that is never used again
	command      string // its arguments, each after a blank
	worker       string // POPPOBUILDER_WORKER_ID
	project, run string // of what a run has started
}

func (p proc) isMaster() bool { return strings.Contains(p.command, " daemon start --foreground") }
func (p proc) isWorker() bool { return strings.Contains(p.command, " worker --presence ") }
func (p proc) isRun() bool    { return p.run != "" }
func (p proc) isAlive() bool  { start, _, ok := startOf(p.pid); return ok && start == p.start }

// startOf returns when a process that is no zombie was started, in ticks, and
// its parent.
func startOf(pid int) (start string, parent int, alive bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", 0, false
	}
	fields := strings.Fields(string(text[strings.LastIndex(string(text), ")")+1:]))
	parent, _ = strconv.Atoi(fields[1])
	return fields[19], parent, fields[0] != "Z" && fields[0] != "X"
}

// processes returns processes of the home that were all alive at one moment:
// seen one after the other, and then all still there.
func (h *testHome) processes() []proc {
	h.t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		h.t.Fatal(err)
	}
	var seen []proc
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		if p, ok := h.see(pid); ok {
			seen = append(seen, p)
		}
	}
	// One that was forked and has not executed its program yet looks like its
	// parent. It is none of our programs a second time.
	command := make(map[int]string)
	for _, p := range seen {
		command[p.pid] = p.command
	}
	return slices.DeleteFunc(seen, func(p proc) bool {
		return !p.isAlive() || !p.isRun() && p.command == command[p.parent]
	})
}

// see looks at one process.
func (h *testHome) see(pid int) (p proc, ours bool) {
	start, parent, ok := startOf(pid)
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if !ok || err != nil {
		return p, false
	}
	p = proc{pid: pid, parent: parent, start: start}
	for entry := range strings.SplitSeq(string(environ), "\x00") {
		switch name, value, _ := strings.Cut(entry, "="); name {
		case config.HomeVariable:
			ours = value == h.paths.Home
		case "POPPOBUILDER_WORKER_ID":
			p.worker = value
		case "POPPOBUILDER_PROJECT_ID":
			p.project = value
		case "POPPOBUILDER_RUN_ID":
			p.run = value
		}
	}
	arguments, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	p.command = " " + strings.ReplaceAll(string(arguments), "\x00", " ")
	return p, ours
}

// hit signals a process, if it is still the one that was seen.
func (p proc) hit(sig syscall.Signal) {
	fd, err := unix.PidfdOpen(p.pid, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	if p.isAlive() {
		_ = unix.PidfdSendSignal(fd, sig, nil, 0)
	}
}

// pick returns one of the processes that fit, by the seed.
func (c *chaos) pick(fits func(proc) bool) (proc, bool) {
	fit := slices.DeleteFunc(c.processes(), func(p proc) bool { return !fits(p) })
	if len(fit) == 0 {
		return proc{}, false
	}
	slices.SortFunc(fit, func(a, b proc) int { return strings.Compare(a.worker+a.command, b.worker+b.command) })
	return fit[c.random.IntN(len(fit))], true
}

// awaitDeath waits for the end of one process.
func (c *chaos) awaitDeath(p proc) {
	c.t.Helper()
	for deadline := time.Now().Add(patience); p.isAlive(); <-time.After(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			c.t.Fatalf("process %d does not end:%s", p.pid, p.command)
		}
	}
}
