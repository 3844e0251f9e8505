package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/poppobuilder/poppobuilder/internal/api"
	"github.com/poppobuilder/poppobuilder/internal/config"
	"github.com/poppobuilder/poppobuilder/internal/keeper"
	"github.com/poppobuilder/poppobuilder/internal/master"
	"github.com/poppobuilder/poppobuilder/pidfile"
)

func (c *cli) daemonCommand() *ffcli.Command {
	return &ffcli.Command{
		Name:       "daemon",
		ShortUsage: "poppobuilder daemon start|stop|restart|status|reload|logs|unit ...",
		ShortHelp:  "start, stop and watch the daemon",
		FlagSet:    newFlagSet("daemon"),
		Subcommands: []*ffcli.Command{
			c.startCommand(),
			c.stopCommand(),
			c.restartCommand(),
			c.statusCommand(),
			c.reloadCommand(),
			c.daemonLogsCommand(),
			c.unitCommand(),
		},
	}
}

// interruptible returns a context that ends on Ctrl-C or TERM, for commands
// that have something to say or to undo then.
func interruptible(ctx context.Context) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
}

// A daemonPID is what commands that start or stop the daemon print as JSON.
type daemonPID struct {
	Running bool `json:"running"`
	PID     int  `json:"pid,omitempty"`
	Changed bool `json:"changed"` // by this command
}

func (c *cli) startCommand() *ffcli.Command {
	fs := newFlagSet("start")
	foreground := fs.Bool("foreground", false, "stay in the foreground and log to this terminal")
	c.jsonFlag(fs)
	settings := config.RegisterFlags(fs)
	return &ffcli.Command{
		Name:       "start",
		ShortUsage: "poppobuilder daemon start [--foreground] [--json] [--SETTING VALUE...]",
		ShortHelp:  "start the daemon and wait until it is ready",
		LongHelp: `A setting that is given as a flag wins over the environment and config.json
for as long as this daemon runs, reloads and restarts included.

EXAMPLE
  poppobuilder daemon start --daemon.maxProcesses 4`,
		FlagSet: fs,
		Exec: func(ctx context.Context, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			if *foreground {
				return c.runForeground(ctx, settings.Args())
			}
			return c.start(ctx, settings.Args())
		},
	}
}

// start starts the daemon in the background, unless it runs.
func (c *cli) start(ctx context.Context, flags []string) error {
	home, err := c.home()
	if err != nil {
		return err
	}
	if err := usableHome(home.Home); err != nil {
		return err
	}
	running, pid, err := settled(ctx, home)
	if err != nil {
		return err
	}
	if running {
		return c.alreadyRunning(pid)
	}
	return c.startNow(ctx, home, flags)
}

// settled waits until the daemon of home, if there is one, is neither starting
// nor stopping, and tells whether it runs. One that does not answer runs.
func settled(ctx context.Context, home config.Paths) (running bool, pid int, err error) {
	ctx, stop := interruptible(ctx)
	defer stop()
	daemon := client(home)
	defer daemon.Close()
	for closed := 0; ; {
		info, err := pidfile.Read(home.PIDFile)
		if err != nil || info.State != pidfile.Held {
			return false, 0, err
		}
		status, err := daemon.Status(ctx)
		// A process that was killed takes a moment to die: its socket still takes
		// connections then.
		closing := errors.Is(err, api.ErrNotRunning) || errors.Is(err, api.ErrWentAway)
		if closing {
			closed++
		}
		switch {
		case closed > maxClosed: // somebody removed its socket
			return true, info.PID, nil
		case closing, err == nil && status.State == api.StateStarting:
			// Its socket opens early, and nothing else tells when it is ready.
			wait, cancel := context.WithTimeout(ctx, settleInterval)
			err = pidfile.Wait(wait, home.PIDFile)
			cancel()
			if err != nil && ctx.Err() == nil {
				err = nil // it is still there
			}
		case err == nil && status.State == api.StateStopping:
			err = pidfile.Wait(ctx, home.PIDFile)
		default:
			return true, info.PID, nil
		}
		if err != nil {
			return false, 0, err
		}
	}
}

const (
	// settleInterval is how often a daemon that somebody else has just started
	// is asked whether it is ready.
	settleInterval = 50 * time.Millisecond
	// maxClosed is how often its socket may be found closed. It is so for a
	// moment only, right after the lock was taken and right before it is freed.
	maxClosed = 100
)

// startNow starts the daemon in the background and tells about it.
func (c *cli) startNow(ctx context.Context, home config.Paths, flags []string) error {
	pid, err := c.startBackground(ctx, home, flags)
	if failed, ok := errors.AsType[*failure](err); ok && failed.code == codeAlreadyRunning {
		// Another start was faster.
		running, pid, settleErr := settled(ctx, home)
		if settleErr != nil {
			return settleErr
		}
		if running {
			return c.alreadyRunning(pid)
		}
		return fmt.Errorf("another \"daemon start\" was faster, and its daemon has ended since; see %s", home.DaemonLog)
	}
	if err != nil {
		return err
	}
	return c.result(daemonPID{Running: true, PID: pid, Changed: true}, "Daemon started (PID: %d)", pid)
}

// alreadyRunning tells that there is nothing to start, which is a success. The
// pid is 0 while the daemon that runs has not written it yet.
func (c *cli) alreadyRunning(pid int) error {
	if pid == 0 {
		return c.result(daemonPID{Running: true}, "Daemon is already starting")
	}
	return c.result(daemonPID{Running: true, PID: pid}, "Daemon is already running (PID: %d)", pid)
}

// startBackground checks what can be checked without starting anything, so that
// mistakes are told at once, and starts the daemon.
func (c *cli) startBackground(ctx context.Context, home config.Paths, flags []string) (pid int, err error) {
	loaded, err := c.settings(home, flags)
	if err != nil {
		return 0, err
	}
	if err := enabled(loaded); err != nil {
		return 0, err
	}
	self, err := c.executable()
	if err != nil {
		return 0, err
	}
	ctx, stop := interruptible(ctx)
	defer stop()
	return background{
		Command: slices.Concat(self, []string{"daemon", "start", "--foreground"}, flags),
		Environ: pinHome(c.Environ, home.Home),
		Home:    home.Home,
		Log:     home.DaemonLog,
	}.start(ctx)
}

// enabled refuses to start a daemon that the settings switch off.
func enabled(loaded *config.Loaded) error {
	if loaded.Daemon.Enabled {
		return nil
	}
	return &master.DisabledError{Origin: loaded.Origins["daemon.enabled"]}
}

// runForeground is the daemon itself.
func (c *cli) runForeground(ctx context.Context, flags []string) error {
	ready, environ, err := readinessFromEnv(c.Environ)
	if err != nil {
		return err
	}
	c.Environ = environ
	err = c.runDaemon(ctx, flags, ready)
	if err == nil {
		return nil
	}
	if reportErr := ready.failed(err); reportErr != nil {
		c.notef("poppobuilder: %v", reportErr)
	}
	if held, ok := errors.AsType[*pidfile.HeldError](err); ok && ready == nil {
		return c.alreadyRunning(held.PID)
	}
	return err
}

func (c *cli) runDaemon(ctx context.Context, flags []string, ready *readiness) error {
	home, err := c.home()
	if err != nil {
		return err
	}
	if err := usableHome(home.Home); err != nil {
		return err
	}
	self, err := c.executable()
	if err != nil {
		return err
	}
	keepDescriptors()
	o := masterOptions{
		Home:          home,
		Flags:         flags,
		Environ:       pinHome(c.Environ, home.Home),
		Version:       version().Version,
		WorkerCommand: slices.Concat(self, []string{"worker"}),
		Ready:         ready.ready,
		NoCgroups:     c.NoCgroups,
	}
	if keeper.Supported {
		o.KeeperCommand = slices.Concat(self, []string{"keeper"})
	}
	if ready == nil {
		o.Console = c.Stderr
	}
	return runMaster(ctx, o)
}

// client returns a client of the daemon of home.
func client(home config.Paths) *api.Client { return api.NewClient(home.Socket) }

// notRunning is the answer of commands that need a daemon.
func notRunning() error {
	return failf(codeNotRunning, exitNotRunning, "the daemon is not running: start it with \"poppobuilder daemon start\"")
}

// running returns a client of the running daemon, or an error that says that
// there is none.
func (c *cli) running() (*api.Client, error) {
	home, err := c.home()
	if err != nil {
		return nil, err
	}
	info, err := pidfile.Read(home.PIDFile)
	if err != nil {
		return nil, err
	}
	if info.State != pidfile.Held {
		return nil, notRunning()
	}
	return client(home), nil
}
