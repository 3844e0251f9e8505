//go:build unix

package ipc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
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
func playRole(role string) int {
	if role == lastWords {
		return playLastWords()
	}
	if strings.HasPrefix(role, "beside") {
		return playBeside(role)
	}
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

// lastWords is the role of a process that kills itself behind its messages.
const (
	lastWords = "last words"
	farewells = 200
)

func playLastWords() int {
	conn, err := ipc.FromEnv()
	if err != nil {
		return 1
	}
	for i := range farewells {
		if conn.Send(context.Background(), body{"i": i, "pad": strings.Repeat("p", i*20)}) != nil {
			return 2
		}
	}
	_ = unix.Kill(os.Getpid(), unix.SIGKILL)
	select {}
}

// What a process has sent arrives after its death by KILL, whole and in
// order, also where it has left messages unread. Both ends are alike.
func TestLastWordsArrive(t *testing.T) {
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
	if err := conn.Send(t.Context(), kind("unread")); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), envRole+"="+lastWords, ipc.EnvFD+"=3")
	cmd.ExtraFiles = []*os.File{child}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	child.Close()
	for i := range farewells {
		m, err := conn.Receive()
		var got struct{ I int }
		if err == nil {
			err = m.Decode(&got)
		}
		if err != nil || got.I != i {
			t.Fatalf("message %d: got %d, %v", i, got.I, err)
		}
	}
	if _, err := conn.Receive(); !errors.Is(err, io.EOF) {
		t.Errorf("end: got %v", err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != -1 {
		t.Errorf("it ended with %v, want KILL", err)
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
