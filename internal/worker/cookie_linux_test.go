package worker_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/poppobuilder/poppobuilder/procworker/ipc"
)

// cookieVar marks the processes of a run.
const cookieVar = "WORKER_TEST_COOKIE"

// processes returns those of a run. One that is a zombie has no environment,
// and is not found.
func processes(t *testing.T, spec ipc.RunSpec) []int {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	var found []int
	for _, file := range files {
		env, _ := os.ReadFile(file) // gone, or another user's
		if slices.ContainsFunc(bytes.Split(env, []byte{0}), func(entry []byte) bool {
			return string(entry) == cookieVar+"="+spec.Env[cookieVar]
		}) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			found = append(found, pid)
		}
	}
	return found
}

func (m *master) checkNothingLeft(spec ipc.RunSpec) {
	m.t.Helper()
	if left := processes(m.t, spec); len(left) > 0 {
		m.t.Errorf("processes left: %v", left)
	}
}

// killLeft removes what a failed test has left.
func killLeft(t *testing.T, spec ipc.RunSpec) {
	for _, pid := range processes(t, spec) {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
}

// watchPID returns a function that waits until a process has ended.
func watchPID(t *testing.T, pid int) (wait func()) {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err == unix.ESRCH {
		return func() {}
	}
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		defer unix.Close(fd)
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, int(hang.Milliseconds()))
		for err == unix.EINTR {
			n, err = unix.Poll(fds, int(hang.Milliseconds()))
		}
		if n != 1 || err != nil {
			t.Fatalf("process %d does not end: %v", pid, err)
		}
	}
}
