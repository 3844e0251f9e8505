package procworker_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/poppobuilder/poppobuilder/procworker"
	"github.com/poppobuilder/poppobuilder/procworker/ipc"
)

func TestSpawnErrors(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	busy := filepath.Join(dir, "busy")
	program, err := os.ReadFile("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(busy, os.O_CREATE|os.O_WRONLY, 0o700)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(program); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name    string
		command []string
		dir     string
		is      error
		host    bool
		text    string
	}{
		{name: "nothing", text: "no command"},
		{name: "missing path", command: []string{"/no/such/program"}, is: fs.ErrNotExist, text: "/no/such/program"},
		{name: "missing name", command: []string{"no-such-program"}, is: exec.ErrNotFound, text: "no-such-program"},
		{name: "not executable", command: []string{plain}, is: fs.ErrPermission, text: "chmod +x"},
		{name: "a directory", command: []string{dir}, is: fs.ErrPermission},
		{name: "no directory", command: []string{"sh"}, dir: "/no/such/dir", is: fs.ErrNotExist, text: "working directory"},
		{name: "file as directory", command: []string{"sh"}, dir: plain, is: syscall.ENOTDIR, text: "working directory"},
		{name: "busy", command: []string{busy}, is: syscall.ETXTBSY, host: true, text: "try again"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := &procworker.Worker{Command: tt.command, Dir: tt.dir, IPC: true, Stdout: io.Discard}
			err := w.Serve(t.Context())
			var spawn *procworker.SpawnError
			if !errors.As(err, &spawn) {
				t.Fatalf("Serve = %v, want *SpawnError", err)
			}
			if tt.is != nil && !errors.Is(err, tt.is) || spawn.Host() != tt.host || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("Serve = %v (host %v)", err, spawn.Host())
			}
			s := w.Snapshot()
			if s.State != procworker.StateStopped || s.LastExit == nil || s.LastExit.PID != 0 || s.LastExit.Err != err.Error() {
				t.Errorf("Snapshot = %+v, %+v", s, s.LastExit)
			}
		})
	}
}

func TestEnvironment(t *testing.T) {
	t.Parallel()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w := &procworker.Worker{
		Command:  []string{"sh", "-c", `echo "$A $B $C"; pwd; echo "$POPPOBUILDER_IPC_FD $NODE_CHANNEL_FD"; [ -n "$POPPOBUILDER_SPAWN" ] && echo marked`},
		Dir:      dir,
		Env:      []string{"A=1", "B=2", "A=3", ipc.EnvFD + "=77"},
		ExtraEnv: []string{"C=4", "B=5"},
		Stdout:   &out,
	}
	if err := serve(t, w).end(); err != nil {
		t.Fatal(err)
	}
	if want := "3 5 4\n" + dir + "\n \nmarked\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
	out.Reset()
	w = &procworker.Worker{Command: w.Command, Dir: dir, IPC: true, Ready: procworker.ReadyAtOnce, Stdout: &out}
	if err := serve(t, w).end(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "\n3 3\n") {
		t.Errorf("got %q", out.String())
	}
}

func TestRelativeProgram(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "prog"), []byte("#!/bin/sh\nexit 12\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	var exit *procworker.ExitError
	for range 20 { // another test's fork may hold the file open for a moment: ETXTBSY
		w := &procworker.Worker{Command: []string{"./prog"}, Dir: dir}
		var spawn *procworker.SpawnError
		err := serve(t, w).end()
		if errors.As(err, &spawn) && spawn.Host() {
			continue
		}
		if !errors.As(err, &exit) || exit.Code != 12 {
			t.Errorf("Serve = %v, want code 12", err)
		}
		return
	}
}
