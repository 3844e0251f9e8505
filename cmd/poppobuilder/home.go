package main

import (
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/poppobuilder/poppobuilder/internal/config"
)

// home is where the daemon that this command is about keeps its files.
func (c *cli) home() (config.Paths, error) {
	dir, err := config.Home(c.Environ)
	if err != nil {
		return config.Paths{}, &failure{code: codeFailed, exit: exitFailure, err: err}
	}
	return config.NewPaths(dir), nil
}

// pinHome returns environ with home as the daemon's home. Nobody who inherits it
// may come to another one: not the daemon in the background, whose working
// directory differs, and no command of a run.
func pinHome(environ []string, home string) []string {
	const prefix = config.HomeVariable + "="
	environ = slices.DeleteFunc(slices.Clone(environ), func(entry string) bool { return strings.HasPrefix(entry, prefix) })
	return append(environ, prefix+home)
}

// usableHome makes sure that the home is there and can be written to.
func usableHome(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return homeError("create the home: %w; set POPPOBUILDER_HOME to a directory that you may write to", err)
	}
	if err := unix.Access(dir, unix.R_OK|unix.W_OK|unix.X_OK); err != nil {
		err = &os.PathError{Op: "write to", Path: dir, Err: err}
		return homeError("use the home: %w; change its mode, or set POPPOBUILDER_HOME to a directory that you may write to", err)
	}
	return nil
}

// homeError says itself what to do next: see message.
func homeError(format string, err error) error {
	code, exit := classify(err)
	return failf(code, exit, format, err)
}

// settings reads the settings that a daemon with these flags would have.
func (c *cli) settings(home config.Paths, flags []string) (*config.Loaded, error) {
	return config.Load(config.Options{File: home.Config, Args: flags, Environ: c.Environ})
}

// shutdownTimeout is what a daemon with these flags grants its runs when it
// stops. Settings that cannot be read do not keep anybody from stopping it.
func (c *cli) shutdownTimeout(home config.Paths, flags []string) time.Duration {
	if loaded, err := c.settings(home, flags); err == nil {
		return loaded.Daemon.ShutdownTimeout
	}
	return config.Default().Daemon.ShutdownTimeout
}
