package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/poppobuilder/poppobuilder/internal/api"
)

// bomber is a user that nobody else has, so that only what the test starts
// counts for its nproc.
const bomber = 54329

// playBomb forks as fast as it can, and so do its children. It goes on below
// the Go runtime, which would end with the first thread that it cannot have.
func playBomb() int {
	if err := os.WriteFile("up", nil, 0o600); err != nil {
		return 1
	}
	pause := unix.Timespec{Nsec: 2e7}
	for {
		_, _, errno := unix.RawSyscall6(unix.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
		if errno != 0 {
			_, _, _ = unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&pause)), 0, 0)
		}
	}
}

// A fork bomb in a project with limits leaves the master and the other worker
// untouched, and nothing of it is left.
func TestForkBombInAProject(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can become a user whose processes nobody else counts")
	}
	h := newHome(t, `{"daemon": {"maxProcesses": 2, "shutdownTimeout": "1s", "port": null}}`)
	program := filepath.Join(h.dir, "poppobuilder")
	copyProgram(t, program)
	if err := filepath.Walk(h.dir, func(path string, _ os.FileInfo, err error) error {
		return os.Chown(path, bomber, bomber)
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // should all else fail
		for pass := 0; pass < 100 && len(ofUser(bomber)) > 0; pass++ {
			for _, pid := range ofUser(bomber) {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	})
	run := func(args ...string) string {
		t.Helper()
		command := exec.Command(program, args...)
		command.Env = append(os.Environ(), programVariable+"=1", "POPPOBUILDER_HOME="+h.paths.Home)
		command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: bomber, Gid: bomber}}
		command.Dir = h.dir
		out, err := command.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	const limit = 150 // the threads of daemon and workers count, too
	run("daemon", "start")
	before := h.await("two workers", func(s api.Status) bool {
		return len(s.Workers) == 2 && s.Workers[0].PID != 0 && s.Workers[1].PID != 0
	})
	run("project", "add", h.dir, "--id", "bomb", "--limits", fmt.Sprintf("nproc=%d", limit),
		"--env", programVariable+"=0", "--env", childVariable+"=bomb", "--", program)
	awaitFile(t, filepath.Join(h.dir, "up"))
	for deadline := time.Now().Add(patience); len(ofUser(bomber)) < limit/2; {
		if time.Now().After(deadline) {
			t.Fatalf("only %d processes: this test tests nothing", len(ofUser(bomber)))
		}
	}
	// Another project's run goes on beside it.
	calm := filepath.Join(h.dir, "calm")
	if err := os.Mkdir(calm, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(calm, bomber, bomber); err != nil {
		t.Fatal(err)
	}
	run("project", "add", calm, "--id", "calm", "--interval", "1h", "--", "sh", "-c", "true; touch done")
	awaitFile(t, filepath.Join(calm, "done"))
	if n := len(ofUser(bomber)); n > limit {
		t.Errorf("%d processes, want %d at most", n, limit)
	}
	after := h.status()
	for i, w := range after.Workers {
		if w.PID != before.Workers[i].PID || w.Restarts != 0 {
			t.Errorf("worker %d was replaced: %+v", i, w)
		}
	}
	if after.PID != before.PID {
		t.Errorf("another master: %d", after.PID)
	}
	run("daemon", "stop")
	if left := ofUser(bomber); len(left) > 0 {
		t.Errorf("alive after stop: %v", left)
	}
}

func awaitFile(t *testing.T, path string) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(path); err == nil {
			return
		}
	}
	t.Fatalf("waited in vain for %s", path)
}

// ofUser returns the living processes of a user, by the kernel's word.
func ofUser(uid int) (pids []int) {
	files, _ := filepath.Glob("/proc/[0-9]*/status")
	for _, file := range files {
		text, _ := os.ReadFile(file)
		if bytes.Contains(text, fmt.Appendf(nil, "\nUid:\t%d\t", uid)) && !bytes.Contains(text, []byte("\nState:\tZ")) {
			var pid int
			_, _ = fmt.Sscanf(file, "/proc/%d/", &pid)
			pids = append(pids, pid)
		}
	}
	return pids
}

func copyProgram(t *testing.T, path string) {
	t.Helper()
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(f, self); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}
