package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// programVariable makes the test binary behave as supervise.
const programVariable = "TEST_SUPERVISE_PROGRAM"

// patience bounds what would otherwise hang.
const patience = 30 * time.Second

func TestMain(m *testing.M) {
	if os.Getenv(programVariable) != "" {
		os.Setenv(programVariable, "")
		main()
		return
	}
	os.Exit(m.Run())
}

// A process is a supervise of a test's own.
type process struct {
	t      testing.TB
	cmd    *exec.Cmd
	socket string
	says   bytes.Buffer
	ended  chan struct{}
}

// launch starts supervise with a socket.
func launch(t testing.TB, args ...string) *process {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "pbs") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, socket: filepath.Join(dir, "s"), ended: make(chan struct{})}
	p.cmd = exec.Command(self, append([]string{"-socket", p.socket}, args...)...)
	p.cmd.Env = append(os.Environ(), programVariable+"=1", "GORACE=atexit_sleep_ms=0")
	p.cmd.Stderr = &p.says
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-p.ended:
		case <-time.After(patience):
			_ = p.cmd.Process.Kill()
			<-p.ended
		}
		os.RemoveAll(dir)
	})
	return p
}

// await asks until the states are as wanted.
func (p *process) await(what string, wanted func([]state) bool) []state {
	p.t.Helper()
	var all []state
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		select {
		case <-p.ended:
			p.t.Fatalf("supervise has ended: %s", p.says.String())
		case <-time.After(2 * time.Millisecond):
		}
		if all, err = states(p.socket); err == nil && wanted(all) {
			return all
		}
	}
	p.t.Fatalf("waited in vain for: %s; %v, %+v", what, err, all)
	return nil
}

func allReady(all []state) bool {
	for _, s := range all {
		if s.State != "ready" || s.PID == 0 {
			return false
		}
	}
	return len(all) > 0
}

func alive(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) && !os.IsNotExist(err)
	}
	return !strings.HasPrefix(string(text[strings.LastIndex(string(text), ")")+1:]), " Z")
}

func TestCopies(t *testing.T) {
	t.Parallel()
	logDir := filepath.Join(t.TempDir(), "logs")
	p := launch(t, "-n", "3", "-restart-delay", "0s", "-log-dir", logDir, "-log-max-size", "1K", "-log-keep", "2",
		"--", "sh", "-c", `echo copy {i}; (setsid sleep 1000 &); sleep 1000`)
	all := p.await("three copies", func(all []state) bool { return len(all) == 3 && allReady(all) })
	for i := range all {
		file := filepath.Join(logDir, fmt.Sprintf("w%d.log", i))
		want := fmt.Sprintf("copy %d\n", i)
		p.await("output in "+file, func([]state) bool { text, _ := os.ReadFile(file); return string(text) == want })
	}
	if err := syscall.Kill(all[1].PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	again := p.await("a restart", func(now []state) bool { return allReady(now) && now[1].Restarts == 1 })
	if again[0] != all[0] || again[2] != all[2] || again[1].PID == all[1].PID || again[1].LastExit != "SIGKILL" {
		t.Errorf("of %+v a kill of the second made %+v", all, again)
	}
	var out bytes.Buffer
	if err := run([]string{"-status", p.socket}, &out); err != nil || !strings.Contains(out.String(), `w1 ready pid=`) || !strings.Contains(out.String(), `restarts=1 last="SIGKILL"`) {
		t.Errorf("-status: %v\n%s", err, out.String())
	}
	below := childrenOf(append(pids(again), p.cmd.Process.Pid))
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-p.ended
	if !p.cmd.ProcessState.Success() {
		t.Errorf("TERM: %v: %s", p.cmd.ProcessState, p.says.String())
	}
	for _, pid := range append(pids(again), below...) {
		if alive(pid) {
			t.Errorf("process %d is still alive", pid)
		}
	}
}

func pids(all []state) (pids []int) {
	for _, s := range all {
		pids = append(pids, s.PID)
	}
	return pids
}

// childrenOf returns the children of processes, as /proc lists them.
func childrenOf(parents []int) (children []int) {
	for _, parent := range parents {
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", parent))
		for _, file := range files {
			text, _ := os.ReadFile(file)
			for field := range strings.FieldsSeq(string(text)) {
				var pid int
				if _, err := fmt.Sscan(field, &pid); err == nil {
					children = append(children, pid)
				}
			}
		}
	}
	return children
}

func TestUsage(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{},
		{"-n", "3"},
		{"-n", "0", "--", "true"},
		{"-restart-delay", "-1s", "--", "true"},
		{"-log-max-size", "10X", "--", "true"},
		{"-status", "/nowhere"},
		{"-socket", "/nowhere/s", "--", "true"},
	} {
		if err := run(args, &bytes.Buffer{}); err == nil {
			t.Errorf("supervise %q is all right", args)
		}
	}
	for text, want := range map[string]int64{"0": 0, "7": 7, "2K": 2 << 10, "10M": 10 << 20, "1G": 1 << 30} {
		if got, err := size(text); got != want || err != nil {
			t.Errorf("size(%q) = %d, %v", text, got, err)
		}
	}
}
