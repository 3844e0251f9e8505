package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/poppobuilder/poppobuilder/internal/api"
	"github.com/poppobuilder/poppobuilder/internal/config"
	"github.com/poppobuilder/poppobuilder/internal/project"
	"github.com/poppobuilder/poppobuilder/pidfile"
)

func TestClassify(t *testing.T) {
	t.Parallel()
	tests := []struct {
		err  error
		code string
		exit int
	}{
		{errors.New("anything"), "failed", 1},
		{&usageError{problem: "what?"}, "usage", 2},
		{failf("timeout", 1, "too slow: %w", fs.ErrPermission), "timeout", 1},
		{config.Faults{{File: "config.json", Line: 1, Problem: "bad"}}, "invalid-config", 6},
		{config.Faults{{From: "POPPOBUILDER_DAEMON_PORT", Problem: "bad"}}, "invalid-config", 6},
		{config.Faults{{From: "--daemon.port", Problem: "bad"}}, "invalid-value", 2},
		{config.Faults{{From: "--daemon.port"}, {File: "config.json", Line: 1}}, "invalid-config", 6},
		{project.Faults{{File: "projects.json", Line: 1, Problem: "bad"}}, "invalid-config", 6},
		{project.Faults{{Key: "config.priority", Problem: "bad"}}, "invalid-value", 2},
		{project.ErrNotFound, "not-found", 1},
		{project.ErrExists, "exists", 1},
		{&pidfile.HeldError{Path: "daemon.pid", PID: 7}, "already-running", 0},
		{&fs.PathError{Op: "open", Path: "x", Err: syscall.EACCES}, "no-privilege", 4},
		{&fs.PathError{Op: "open", Path: "x", Err: syscall.EROFS}, "no-privilege", 4},
		{syscall.EPERM, "no-privilege", 4},
		{api.ErrNotRunning, "not-running", 7},
		{api.ErrNoAnswer, "not-answering", 1},
		{api.NewProblem(api.CodeInvalidConfig, "bad"), "invalid-config", 6},
		{api.NewProblem(api.CodeInvalidProject, "bad"), "invalid-project", 6},
		{api.NewProblem(api.CodeNotFound, "who?"), "not-found", 1},
		{api.NewProblem(api.CodeForbidden, "not you"), "forbidden", 4},
		{context.DeadlineExceeded, "timeout", 1},
		{context.Canceled, "interrupted", 130},
	}
	for _, tt := range tests {
		code, exit := classify(fmt.Errorf("do it: %w", tt.err))
		if code != tt.code || exit != tt.exit {
			t.Errorf("%T %v: got %s, %d; want %s, %d", tt.err, tt.err, code, exit, tt.code, tt.exit)
		}
	}
}

// Each message says what to do next, once.
func TestMessage(t *testing.T) {
	t.Parallel()
	denied := &fs.PathError{Op: "open", Path: "x", Err: syscall.EACCES}
	tests := []struct {
		err  error
		want string
	}{
		{errors.New("anything"), "anything"},
		{config.Faults{{File: "c", Line: 1, Column: 2, Problem: "bad"}}, `c:1:2: bad; correct it, or go back to the defaults by "poppobuilder global-config reset"`},
		{config.Faults{{From: "--daemon.port", Problem: "bad"}}, "--daemon.port: bad"},
		{project.Faults{{File: "p", Line: 1, Column: 2, Problem: "bad"}, {File: "p", Problem: "worse"}}, "p:1:2: bad\np: worse\ncorrect it, or move the file away to begin without projects"},
		{project.Faults{{Key: "config.priority", Problem: "bad"}}, "config.priority: bad"},
		{fmt.Errorf("read it: %w", denied), "read it: open x: permission denied; run this as the owner, or change the mode"},
		{homeError("use it: %w; do that", denied), "use it: open x: permission denied; do that"},
	}
	for _, tt := range tests {
		if got := message(tt.err); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}

// A program whose output goes nowhere has not done what was asked.
func TestOutputLost(t *testing.T) {
	t.Parallel()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skipf("no full device: %v", err)
	}
	defer full.Close()
	var stderr bytes.Buffer
	for _, args := range [][]string{{"version"}, {"version", "--json"}, {"--help"}, {"completion", "bash"}} {
		stderr.Reset()
		if exit := (program{Stdout: full, Stderr: &stderr}).run(t.Context(), args); exit != exitFailure {
			t.Errorf("%q: exit %d, want %d", args, exit, exitFailure)
		}
		if !strings.Contains(stderr.String(), "no space left") {
			t.Errorf("%q: standard error %q, want the reason", args, stderr.String())
		}
	}
}
