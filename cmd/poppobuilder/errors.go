package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"syscall"

	"github.com/poppobuilder/poppobuilder/internal/api"
	"github.com/poppobuilder/poppobuilder/internal/config"
	"github.com/poppobuilder/poppobuilder/internal/master"
	"github.com/poppobuilder/poppobuilder/internal/project"
	"github.com/poppobuilder/poppobuilder/pidfile"
)

// Exit codes, from "Init Script Actions" in the Linux Standard Base.
const (
	exitOK            = 0
	exitFailure       = 1
	exitUsage         = 2
	exitNoPrivilege   = 4
	exitNotConfigured = 6
	exitNotRunning    = 7
	exitInterrupted   = 130 // not LSB's: what shells say of a program that SIGINT ended
)

// Exit codes of "daemon status", from the same place.
const (
	statusRunning    = 0
	statusDead       = 1 // with a pid file
	statusNotRunning = 3
	statusUnknown    = 4
)

// Codes of errors that commands branch on or that users may.
const (
	codeFailed         = "failed"
	codeUsage          = "usage"
	codeNoPrivilege    = "no-privilege"
	codeInvalidConfig  = "invalid-config"
	codeInvalidValue   = "invalid-value"
	codeDisabled       = "disabled"
	codeNotRunning     = "not-running"
	codeAlreadyRunning = "already-running"
	codeNotAnswering   = "not-answering"
	codeNotFound       = "not-found"
	codeExists         = "exists"
	codeTimeout        = "timeout"
	codeInterrupted    = "interrupted"
)

// A usageError is a command line that makes no sense.
type usageError struct {
	problem string
	usage   string // the command's usage line; filled in by execute
}

func (e *usageError) Error() string { return e.problem }

// A failure is an error whose code and exit code are known where it is made.
type failure struct {
	code string
	exit int
	err  error
}

func (e *failure) Error() string { return e.err.Error() }
func (e *failure) Unwrap() error { return e.err }

// failf makes a failure. It formats like [fmt.Errorf].
func failf(code string, exit int, format string, args ...any) error {
	return &failure{code: code, exit: exit, err: fmt.Errorf(format, args...)}
}

// A statusExit is the exit code of a command that has printed all there is to
// say.
type statusExit int

func (e statusExit) Error() string { return fmt.Sprintf("exit %d", int(e)) }

// noArgs is the check of a command that takes flags only.
func noArgs(args []string) error {
	if len(args) > 0 {
		return &usageError{problem: fmt.Sprintf("unexpected argument %q", args[0])}
	}
	return nil
}

// exactArgs is the check of a command that takes one argument for each name.
func exactArgs(args []string, names ...string) error {
	if len(args) < len(names) {
		return &usageError{problem: names[len(args)] + " is missing"}
	}
	return noArgs(args[len(names):])
}

// classify is the one place where errors become codes and exit codes.
func classify(err error) (code string, exit int) {
	if _, ok := errors.AsType[*usageError](err); ok {
		return codeUsage, exitUsage
	}
	if failure, ok := errors.AsType[*failure](err); ok {
		return failure.code, failure.exit
	}
	if problem, ok := errors.AsType[*api.Problem](err); ok {
		return problem.Code, problemExit(problem.Code)
	}
	if faults, ok := errors.AsType[config.Faults](err); ok {
		if !slices.ContainsFunc(faults, outsideArgs) {
			return codeInvalidValue, exitUsage
		}
		return codeInvalidConfig, exitNotConfigured
	}
	if faults, ok := errors.AsType[project.Faults](err); ok {
		if !slices.ContainsFunc(faults, inRegistry) {
			return codeInvalidValue, exitUsage
		}
		return codeInvalidConfig, exitNotConfigured
	}
	if _, ok := errors.AsType[*master.DisabledError](err); ok {
		return codeDisabled, exitNotConfigured
	}
	if _, ok := errors.AsType[*pidfile.HeldError](err); ok {
		return codeAlreadyRunning, exitOK // LSB: starting what runs is a success
	}
	for _, known := range []struct {
		target error
		code   string
		exit   int
	}{
		{api.ErrNotRunning, codeNotRunning, exitNotRunning},
		{api.ErrNoAnswer, codeNotAnswering, exitFailure},
		{project.ErrNotFound, codeNotFound, exitFailure},
		{project.ErrExists, codeExists, exitFailure},
		{fs.ErrPermission, codeNoPrivilege, exitNoPrivilege},
		{syscall.EROFS, codeNoPrivilege, exitNoPrivilege},
		{context.DeadlineExceeded, codeTimeout, exitFailure},
		{context.Canceled, codeInterrupted, exitInterrupted},
	} {
		if errors.Is(err, known.target) {
			return known.code, known.exit
		}
	}
	return codeFailed, exitFailure
}

// outsideArgs tells a fault in a file or in the environment from one in what
// was just typed.
func outsideArgs(f config.Fault) bool {
	return f.File != "" || f.From != "" && !strings.HasPrefix(f.From, "--")
}

// inConfig tells a fault in config.json from one in the environment or in what
// was just typed.
func inConfig(f config.Fault) bool { return f.File != "" }

// inRegistry tells a fault in projects.json from one in what was just typed.
func inRegistry(f project.Fault) bool { return f.File != "" }

// problemExit is the exit code for what the daemon answered.
func problemExit(code string) int {
	switch code {
	case api.CodeInvalidConfig, api.CodeInvalidProject:
		return exitNotConfigured
	case api.CodeForbidden, api.CodeUnauthorized:
		return exitNoPrivilege
	}
	return exitFailure
}

// errorReport is what --json prints of an error.
type errorReport struct {
	Error errorBody `json:"error"`
}

type errorBody struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// message is what err says, and the next step where it does not name one itself.
func message(err error) string {
	text := strings.TrimSpace(err.Error())
	next := ""
	if faults, ok := errors.AsType[config.Faults](err); ok && slices.ContainsFunc(faults, inConfig) {
		next = "correct it, or go back to the defaults by \"poppobuilder global-config reset\""
	}
	if faults, ok := errors.AsType[project.Faults](err); ok && slices.ContainsFunc(faults, inRegistry) {
		next = "correct it, or move the file away to begin without projects"
	}
	if _, told := errors.AsType[*failure](err); !told && errors.Is(err, fs.ErrPermission) {
		next = "run this as the owner, or change the mode"
	}
	switch {
	case next == "":
		return text
	case strings.Contains(text, "\n"):
		return text + "\n" + next
	}
	return text + "; " + next
}

// report tells the user about err, if it is one, and returns the exit code.
func (c *cli) report(err error) int {
	if err == nil {
		return exitOK
	}
	if status, ok := errors.AsType[statusExit](err); ok {
		return int(status)
	}
	code, exit := classify(err)
	if c.json {
		if c.printJSON(errorReport{Error: errorBody{Code: code, Message: message(err)}}) == nil {
			return exit
		}
	}
	c.notef("poppobuilder: %s", message(err))
	if usage, ok := errors.AsType[*usageError](err); ok && usage.usage != "" {
		c.notef("usage: %s", usage.usage)
	}
	return exit
}
