package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"strconv"
	"syscall"
	"time"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/poppobuilder/poppobuilder/internal/api"
	"github.com/poppobuilder/poppobuilder/internal/config"
	"github.com/poppobuilder/poppobuilder/internal/project"
	"github.com/poppobuilder/poppobuilder/pidfile"
)

func (c *cli) stopCommand() *ffcli.Command {
	fs := newFlagSet("stop")
	force := fs.Bool("force", false, "kill the daemon and its runs instead of waiting for them")
	timeout := timeoutFlag(fs)
	c.jsonFlag(fs)
	return &ffcli.Command{
		Name:       "stop",
		ShortUsage: "poppobuilder daemon stop [--timeout DURATION] [--force] [--json]",
		ShortHelp:  "stop the daemon and wait until it is gone",
		LongHelp: `Runs get daemon.shutdownTimeout to end; what is cut short runs again at the next
start.

EXAMPLE
  poppobuilder daemon stop --timeout 2m`,
		FlagSet: fs,
		Exec: func(ctx context.Context, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			home, err := c.home()
			if err != nil {
				return err
			}
			pid, err := c.stop(ctx, home, timeout.value, *force)
			if errors.Is(err, api.ErrNotRunning) {
				return c.result(daemonPID{}, "Daemon is not running")
			}
			if err != nil {
				return err
			}
			return c.result(daemonPID{PID: pid, Changed: true}, "Daemon stopped")
		},
	}
}

func timeoutFlag(fs *flag.FlagSet) *optionalDuration {
	timeout := new(optionalDuration)
	fs.Var(timeout, "timeout", "`duration` to wait for its end; \"default\": daemon.shutdownTimeout and 10s")
	return timeout
}

// stop stops the daemon of home and waits until it is gone, by default as long as
// the daemon may take. An error that is [api.ErrNotRunning] says that there was
// none.
func (c *cli) stop(ctx context.Context, home config.Paths, patience *time.Duration, force bool) (pid int, err error) {
	info, err := pidfile.Read(home.PIDFile)
	if err != nil {
		return 0, err
	}
	if info.State != pidfile.Held {
		return 0, api.ErrNotRunning
	}
	ctx, stop := interruptible(ctx)
	defer stop()
	daemon := client(home)
	defer daemon.Close()
	if patience == nil {
		patience = new(c.stopTimeout(ctx, daemon, home))
	}
	timeout := *patience
	daemon.Timeout = min(daemon.Timeout, max(timeout, statusTimeout))
	if force {
		daemon.Timeout = statusTimeout // whoever asks for force is out of patience
	}
	if err := askToStop(ctx, daemon, home, force); err != nil {
		return 0, err
	}
	wait, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if err := pidfile.Wait(wait, home.PIDFile); err != nil {
		if ctx.Err() != nil {
			return 0, failf(codeInterrupted, exitInterrupted, "interrupted; the daemon (PID: %d) goes on stopping", info.PID)
		}
		return 0, failf(codeTimeout, exitFailure, "the daemon (PID: %d) has not ended within %v: wait longer with --timeout, or kill it with \"poppobuilder daemon stop --force\"", info.PID, timeout)
	}
	return info.PID, nil
}

// stopTimeout is how long the daemon may take by its own settings, and some.
func (c *cli) stopTimeout(ctx context.Context, daemon *api.Client, home config.Paths) time.Duration {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	status, _ := daemon.Status(ctx) // no answer: no flags
	return c.shutdownTimeout(home, status.Flags) + stopMargin
}

// askToStop asks over the socket, and by a signal if nobody answers there.
func askToStop(ctx context.Context, daemon *api.Client, home config.Paths, force bool) error {
	err := daemon.Stop(ctx, force)
	if _, answered := errors.AsType[*api.Problem](err); err == nil || answered {
		return err
	}
	sig := syscall.SIGTERM
	if force {
		sig = syscall.SIGKILL
	}
	_, err = pidfile.Signal(home.PIDFile, sig)
	if _, gone := errors.AsType[*pidfile.NotHeldError](err); gone {
		return nil // it has ended meanwhile
	}
	if err != nil {
		return fmt.Errorf("stop the daemon: %w", err)
	}
	return nil
}

func (c *cli) restartCommand() *ffcli.Command {
	fs := newFlagSet("restart")
	timeout := timeoutFlag(fs)
	c.jsonFlag(fs)
	settings := config.RegisterFlags(fs)
	return &ffcli.Command{
		Name:       "restart",
		ShortUsage: "poppobuilder daemon restart [--timeout DURATION] [--json] [--SETTING VALUE...]",
		ShortHelp:  "stop the daemon, if it runs, and start it",
		LongHelp: `The settings are checked first: if they are invalid, the daemon runs on. Without
settings as flags, those that the daemon was started with are used again.

EXAMPLE
  poppobuilder daemon restart`,
		FlagSet: fs,
		Exec: func(ctx context.Context, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			return c.restart(ctx, timeout.value, settings.Args())
		},
	}
}

// restart is one operation: nothing is stopped before all that can be checked
// is, and nothing is started before the old daemon is gone.
func (c *cli) restart(ctx context.Context, timeout *time.Duration, flags []string) error {
	home, err := c.home()
	if err != nil {
		return err
	}
	if err := usableHome(home.Home); err != nil {
		return err
	}
	var status api.Status
	if daemon, err := c.running(); err == nil {
		status, err = daemon.Status(ctx)
		daemon.Close()
		if err == nil && status.Manager == api.ManagerSystemd {
			return failf(codeFailed, exitFailure, "systemd runs this daemon: use \"systemctl restart poppobuilder\", or \"systemctl --user restart poppobuilder\", with the name of its unit")
		}
		if err == nil && len(flags) == 0 {
			flags = status.Flags
		}
	}
	loaded, err := c.settings(home, flags)
	if err != nil {
		return fmt.Errorf("nothing was restarted: %w", err)
	}
	if err := enabled(loaded); err != nil {
		return err
	}
	if err := startable(home, loaded, status.API.Address); err != nil {
		return fmt.Errorf("nothing was restarted: %w", err)
	}
	if _, err := c.stop(ctx, home, timeout, false); err != nil && !errors.Is(err, api.ErrNotRunning) {
		return err
	}
	return c.startNow(ctx, home, flags)
}

// startable checks what else would keep a daemon with these settings from
// starting. The address is that of the daemon that runs, which will be free.
func startable(home config.Paths, loaded *config.Loaded, address string) error {
	if _, err := (project.Store{Path: home.Projects}).Load(); err != nil {
		return err
	}
	if loaded.Daemon.Port == nil {
		return nil
	}
	port := *loaded.Daemon.Port
	if port == 0 || net.JoinHostPort(loaded.Daemon.Host, strconv.Itoa(port)) == address {
		return nil
	}
	listener, err := api.ListenTCP(loaded.Daemon.Host, port)
	if err != nil {
		return err
	}
	return listener.Close()
}
