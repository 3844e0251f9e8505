//go:build unix

package ipc_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/poppobuilder/poppobuilder/procworker/ipc"
)

// envRole makes the test binary play a worker instead of running tests.
const envRole = "IPC_TEST_ROLE"

// playRole answers one message with what FromEnv has left behind.
func playRole(string) int {
	conn, err := ipc.FromEnv()
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer conn.Close()
	m, err := conn.Receive()
	if err != nil {
		return 2
	}
	_, ours := os.LookupEnv(ipc.EnvFD)
	_, nodes := os.LookupEnv(ipc.EnvNodeFD)
	flags, err := unix.FcntlInt(3, unix.F_GETFD, 0)
	again, errAgain := ipc.FromEnv()
	answer := body{
		"got": m.Type, "variables": ours || nodes,
		"inherited": err != nil || flags&unix.FD_CLOEXEC == 0,
		"again":     again != nil || !errors.Is(errAgain, ipc.ErrNoChannel),
	}
	if conn.Send(context.Background(), answer) != nil {
		return 3
	}
	return 0
}

func TestFromEnv(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	parent, child, err := ipc.Pair()
	if err != nil {
		t.Fatal(err)
	}
	conn := ipc.NewConn(parent, ipc.Options{})
	defer conn.Close()
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), envRole+"=x", ipc.EnvFD+"=3", ipc.EnvNodeFD+"=3")
	cmd.ExtraFiles = []*os.File{child}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	child.Close()
	if err := conn.Send(t.Context(), kind("hello")); err != nil {
		t.Fatal(err)
	}
	m, err := conn.Receive()
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"type":"body","again":false,"got":"hello","inherited":false,"variables":false}`; string(m.Raw) != want {
		t.Errorf("got %s, want %s", m.Raw, want)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

func TestFromEnvRefuses(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(self)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, value := range []string{"", "x", "-1", "3", "99"} {
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), envRole+"=x", ipc.EnvFD+"="+value)
		cmd.ExtraFiles = []*os.File{file}
		out, err := cmd.Output()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(string(out), ipc.EnvFD) || !strings.Contains(string(out), "no worker channel") {
			t.Errorf("%q: %v, %q", value, err, out)
		}
	}
}
