//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/poppobuilder/poppobuilder/internal/api"
	"github.com/poppobuilder/poppobuilder/internal/runs"
)

// daemonKills is how often the daemon of the next test is killed.
const daemonKills = 24

// The daemon is killed at any time, with what it has started, and forgets no
// run: each that was accepted ends in one final state, none is started twice,
// and no project has two at once.
func TestKilledDaemonForgetsNoRun(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("flock"); err != nil {
		t.Skip("the runs need flock to see each other")
	}
	h := newHome(t, `{"daemon":{"maxProcesses":2,"port":null},"defaults":{"pollingInterval":"1h","retryDelay":1}}`)
	h.program = build(t) // 24 starts, each of which takes seconds under the race detector
	journal := filepath.Join(h.dir, "journal")
	script := fmt.Sprintf(`exec 9>lock; flock -n 9 || echo "twice $POPPOBUILDER_RUN_ID" >>%[1]s
echo "start $POPPOBUILDER_RUN_ID" >>%[1]s; sleep 0.02`, journal)
	ids := []string{"a", "b", "c"}
	for _, id := range ids {
		dir := filepath.Join(h.dir, id)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		h.must("project", "add", dir, "--id", id, "--", "/bin/sh", "-c", script)
	}
	accepted := map[string]bool{}
	moments := rapid.IntRange(0, 60)
	for n := range daemonKills {
		h.must("daemon", "start")
		client := api.NewClient(h.paths.Socket)
		end := time.After(time.Duration(moments.Example(n)) * time.Millisecond)
		for i, over := 0, false; !over; i++ {
			if run, err := client.RunProject(t.Context(), ids[i%len(ids)]); err != nil {
				t.Fatal(err)
			} else {
				accepted[run.ID] = true
			}
			select {
			case <-end:
				over = true
			default:
			}
		}
		master := watchPID(t, h.status().PID)
		kill(t, master.pid, syscall.SIGKILL)
		master.awaitEnd(t)
		client.Close()
	}
	h.must("daemon", "start")
	h.await("an empty queue", func(s api.Status) bool { return s.Queue.Queued+s.Queue.Running == 0 })
	h.must("daemon", "stop")

	db, err := runs.Open(filepath.Join(h.paths.State, "runs.db"), runs.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if health := db.Health(); health != (runs.Health{}) {
		t.Errorf("health is %+v", health)
	}
	interrupted := 0
	for _, run := range db.List(runs.Filter{}) {
		delete(accepted, run.ID)
		if !run.State.Final() {
			t.Errorf("not ended: %+v", run)
		}
		if run.State == runs.Interrupted {
			interrupted++
		}
	}
	if len(accepted) > 0 {
		t.Errorf("forgotten: %v", accepted)
	}
	text, err := os.ReadFile(journal)
	if err != nil {
		t.Fatal(err)
	}
	started := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "twice") || started[line] {
			t.Errorf("journal has %q", line)
		}
		started[line] = true
	}
	t.Logf("%d kills, %d runs were started, %d were interrupted", daemonKills, len(started), interrupted)
}

// A damaged file of runs does not keep the daemon from starting, and it says so.
func TestDamagedFileOfRuns(t *testing.T) {
	t.Parallel()
	h := newHome(t, `{"daemon":{"maxProcesses":1,"port":null}}`)
	if err := os.Mkdir(h.paths.State, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(h.paths.State, "runs.db"), []byte(strings.Repeat("garbage\n", 5000)), 0o600); err != nil {
		t.Fatal(err)
	}
	h.must("daemon", "start")
	if out := h.must("daemon", "status"); !strings.Contains(out, "runs.db.damaged-") {
		t.Errorf("status says:\n%s", out)
	}
	if log, err := os.ReadFile(h.paths.DaemonLog); err != nil || !strings.Contains(string(log), "runs.db.damaged-") {
		t.Errorf("the log does not tell: %v", err)
	}
	h.must("daemon", "stop")
}

// On a full disk a run is refused with the reason, and accepted again when there
// is room.
func TestFullDiskRefusesRuns(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("mounting a small file system needs root")
	}
	h := newHome(t, `{"daemon":{"maxProcesses":1,"port":null}}`)
	if err := os.Mkdir(h.paths.State, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", h.paths.State, "tmpfs", 0, "size=512k,mode=0700"); err != nil {
		t.Skipf("mounting a small file system is not possible here: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(h.paths.State, syscall.MNT_DETACH) })
	h.must("project", "add", h.dir, "--id", "a", "--interval", "1h", "--", "sh", "-c", "exec sleep 1000")
	h.must("daemon", "start")
	h.await("its first run", func(s api.Status) bool { return s.Queue.Running == 1 })
	filler := filepath.Join(h.paths.State, "filler")
	f, err := os.Create(filler)
	if err != nil {
		t.Fatal(err)
	}
	for size := 1 << 20; size > 0; size /= 2 {
		_, _ = f.Write(make([]byte, size))
	}
	f.Close()
	// The queue has to grow, because pages that are free in the file take some.
	client := api.NewClient(h.paths.Socket)
	defer client.Close()
	for i := 0; h.status().Store == nil; i++ {
		if i == 40 {
			t.Fatal("the disk does not get full")
		}
		for j := range 10 {
			p := benchProject(fmt.Sprintf("%s-%d-%d", strings.Repeat("long", 12), i, j), time.Hour, "true")
			if _, err := client.AddProject(t.Context(), p); err != nil {
				t.Fatal(err)
			}
		}
	}
	if s := h.status(); s.Store == nil || !strings.Contains(s.Store.Error, "no space left") {
		t.Errorf("status says %+v", s.Store)
	}
	if out, exit := h.run("project", "run", "a", "--json"); exit != exitFailure || !strings.Contains(out, "no space left on device") || !strings.Contains(out, `"storage"`) {
		t.Errorf("a run on a full disk: exit code %d: %s", exit, out)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	h.await("room", func(s api.Status) bool { return s.Store == nil })
	h.must("project", "run", "a")
	h.must("daemon", "stop")
}
