package main

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/poppobuilder/poppobuilder/internal/config"
	"github.com/poppobuilder/poppobuilder/pidfile"
)

// programVariable makes the test binary behave as poppobuilder, so that a
// daemon that a test starts is the code under test and never the tests again. It
// has no prefix that the demo takes out of the environment.
const programVariable = "TEST_POPPOBUILDER_PROGRAM"

// noCgroupsVariable leaves out cgroups, with programVariable.
const noCgroupsVariable = "TEST_POPPOBUILDER_NO_CGROUPS"

// childVariable makes the test binary behave as a daemon that starts, well or
// badly: see child.
const childVariable = "POPPOBUILDER_TEST_CHILD"

// The race detector lets a process that ends sleep for a second first. The
// scripts start some hundred of them.
const (
	raceVariable = "GORACE"
	raceOptions  = "atexit_sleep_ms=0"
)

func TestMain(m *testing.M) {
	if os.Getenv(programVariable) == "1" {
		os.Exit(program{
			Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Environ: os.Environ(),
			NoCgroups: os.Getenv(noCgroupsVariable) == "1",
		}.run(context.Background(), os.Args[1:]))
	}
	if role := os.Getenv(childVariable); role == "bomb" {
		os.Exit(playBomb())
	} else if role != "" {
		os.Exit(child(role))
	}
	os.Setenv(raceVariable, raceOptions)
	testscript.Main(m, map[string]func(){"poppobuilder": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               setupScript,
		Cmds:                scriptCommands(),
		Condition:           scriptCondition,
	})
}

// setupScript gives a script a home of its own, on a path that is short enough
// for a socket, and ends whatever daemon the script leaves there.
func setupScript(env *testscript.Env) error {
	home, err := os.MkdirTemp("/tmp", "pb")
	if err != nil {
		return err
	}
	env.Defer(func() {
		dir := filepath.Join(home, ".poppobuilder")
		for _, used := range []string{dir, filepath.Join(env.WorkDir, "home")} {
			pidfile.Signal(config.NewPaths(used).PIDFile, syscall.SIGKILL)
		}
		os.Chmod(dir, 0o700)
		os.RemoveAll(home)
	})
	env.Setenv(raceVariable, raceOptions)
	env.Setenv("HOME", home)
	env.Setenv("POPPOBUILDER_HOME", filepath.Join(home, ".poppobuilder"))
	return listenForNotices(env, home)
}
