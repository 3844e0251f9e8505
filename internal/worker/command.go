package worker

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/poppobuilder/poppobuilder/procworker"
)

// findCommand returns the path of a command's program. A name without a slash
// is looked up in the PATH that the command is going to have, one with a slash
// is relative to the directory in which it is going to run.
func findCommand(command []string, dir string, env []string) (string, error) {
	if len(command) == 0 || command[0] == "" {
		return "", errors.New("the project has no command; set one with \"poppobuilder project set ID -- COMMAND...\"")
	}
	switch info, err := os.Stat(dir); {
	case errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("directory %q does not exist; create it, or add the project again where it is now", dir)
	case err != nil:
		return "", fmt.Errorf("directory %q cannot be used: %w", dir, err)
	case !info.IsDir():
		return "", fmt.Errorf("%q is not a directory; add the project again with its directory", dir)
	}
	name := command[0]
	if strings.Contains(name, "/") {
		path := name
		if !filepath.IsAbs(path) {
			path = filepath.Join(dir, path)
		}
		return path, explain(name, checkExecutable(path))
	}
	return lookPath(name, dir, lookup(env, "PATH"))
}

// lookPath looks for a program as execvp(3) does.
func lookPath(name, dir, path string) (string, error) {
	var found error
	for _, place := range filepath.SplitList(path) {
		if !filepath.IsAbs(place) { // an empty one, too
			place = filepath.Join(dir, place)
		}
		file := filepath.Join(place, name)
		err := checkExecutable(file)
		if err == nil {
			return file, nil
		}
		if errors.Is(err, errNotExecutable) {
			found = cmp.Or(found, explain(file, err))
		}
	}
	if found != nil {
		return "", found
	}
	return "", fmt.Errorf("command %q not found in PATH (%s); install it, or give its full path", name, path)
}

var errNotExecutable = errors.New("not executable")

func checkExecutable(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return syscall.EISDIR
	}
	if unix.Faccessat(unix.AT_FDCWD, path, unix.X_OK, unix.AT_EACCESS) != nil {
		return errNotExecutable
	}
	return nil
}

// explain makes a sentence of what is wrong with a program's file.
func explain(name string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("command %q does not exist; correct the project's command", name)
	case errors.Is(err, syscall.EISDIR):
		return fmt.Errorf("command %q is a directory; correct the project's command", name)
	case errors.Is(err, errNotExecutable):
		return fmt.Errorf("command %q is not executable; run \"chmod +x\" on it", name)
	default:
		return fmt.Errorf("command %q cannot be used: %w", name, err)
	}
}

// explainStart makes a sentence of why the system did not start a program
// whose file is all right.
func explainStart(name string, err error) error {
	var limit *procworker.LimitsError
	switch {
	case errors.As(err, &limit):
		return fmt.Errorf("command %q cannot start: %w; correct the project's limits", name, err)
	case errors.Is(err, syscall.ENOEXEC):
		return fmt.Errorf("command %q is no program for this system; a script needs a first line such as \"#!/bin/sh\"", name)
	case errors.Is(err, syscall.ENOENT):
		return fmt.Errorf("command %q cannot start: the interpreter that it names, in its first line for a script, does not exist; install it", name)
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return fmt.Errorf("command %q may not be started: %w; check its mode, its interpreter's, and the mount's", name, err)
	case errors.Is(err, syscall.E2BIG):
		return fmt.Errorf("command %q cannot start: its arguments and environment are too long; shorten them", name)
	case errors.Is(err, syscall.EINVAL):
		return fmt.Errorf("command %q cannot start: an argument or variable holds a NUL byte; remove it", name)
	default:
		return fmt.Errorf("command %q cannot start: %w; the system may be short of something, try again", name, err)
	}
}
