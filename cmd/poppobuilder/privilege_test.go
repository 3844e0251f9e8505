package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A home that this user may not write to is exit code 4, for every command that
// wants to. Root may do everything, so the commands run as somebody else then.
func TestNoPrivilege(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("/tmp", "pb")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		os.Chmod(filepath.Join(dir, "home"), 0o700)
		os.RemoveAll(dir)
	})
	home := filepath.Join(dir, "home")
	if err := os.Mkdir(home, 0o500); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "poppobuilder")
	copyTestBinary(t, program)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}

	for _, args := range [][]string{
		{"daemon", "start"},
		{"daemon", "start", "--foreground"},
		{"daemon", "restart"},
		{"global-config", "set", "daemon.maxProcesses", "3"},
		{"global-config", "init"},
		{"project", "add", "/tmp", "--", "true"},
	} {
		command := exec.Command(program, args...)
		command.Dir = "/"
		command.Env = append(os.Environ(), programVariable+"=1", "POPPOBUILDER_HOME="+home)
		if os.Getuid() == 0 {
			const nobody = 65534
			command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		}
		var stderr bytes.Buffer
		command.Stderr = &stderr
		err := command.Run()
		ended, ok := errors.AsType[*exec.ExitError](err)
		if !ok || ended.ExitCode() != exitNoPrivilege {
			t.Errorf("%q: %v, want exit code %d; it said: %s", args, err, exitNoPrivilege, &stderr)
		}
		for _, want := range []string{home, "permission denied", "POPPOBUILDER_HOME"} {
			if !strings.Contains(stderr.String(), want) {
				t.Errorf("%q said %q, want a sentence with %q", args, &stderr, want)
			}
		}
	}
}

// copyTestBinary puts this test program where every user can run it.
func copyTestBinary(t *testing.T, to string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if os.Link(self, to) == nil {
		return
	}
	data, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, data, 0o755); err != nil {
		t.Fatal(err)
	}
}
