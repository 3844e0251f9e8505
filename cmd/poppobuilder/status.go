package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/poppobuilder/poppobuilder/internal/api"
	"github.com/poppobuilder/poppobuilder/internal/config"
	"github.com/poppobuilder/poppobuilder/pidfile"
)

// statusTimeout keeps the promise that status answers within a second,
// whatever state the daemon is in.
const statusTimeout = 900 * time.Millisecond

func (c *cli) statusCommand() *ffcli.Command {
	fs := newFlagSet("status")
	watch := watchFlag(fs)
	c.jsonFlag(fs)
	return &ffcli.Command{
		Name:       "status",
		ShortUsage: "poppobuilder daemon status [--json] [--watch]",
		ShortHelp:  "show the daemon and its workers",
		LongHelp: `Exit codes: 0 it runs, 1 it died and left its pid file, 3 it does not run,
4 it runs but does not answer.

EXAMPLE
  poppobuilder daemon status --json`,
		FlagSet: fs,
		Exec: func(ctx context.Context, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			home, err := c.home()
			if err != nil {
				return err
			}
			return c.watch(ctx, *watch, func(ctx context.Context) error {
				view, err := look(ctx, home)
				if err != nil || ctx.Err() != nil {
					return err
				}
				if err := c.show(view); err != nil {
					return err
				}
				if view.exit != statusRunning && !*watch {
					return statusExit(view.exit)
				}
				return nil
			})
		},
	}
}

// A view is what status found. Status is nil unless the daemon answered.
type view struct {
	*api.Status
	down downStatus
	exit int
}

// downStatus is the JSON of a daemon that runs not, or does not answer.
type downStatus struct {
	Running      bool   `json:"running"`
	PID          int    `json:"pid,omitempty"`
	StalePIDFile string `json:"stalePidFile,omitempty"`
	Error        string `json:"error,omitempty"`
}

// look finds out how the daemon of home is. It asks the lock first, which
// cannot hang.
func look(ctx context.Context, home config.Paths) (view, error) {
	info, err := pidfile.Read(home.PIDFile)
	if err != nil {
		return view{}, &failure{code: codeFailed, exit: statusUnknown, err: errors.New(message(err))}
	}
	switch info.State {
	case pidfile.Absent:
		return view{exit: statusNotRunning}, nil
	case pidfile.Stale:
		return view{exit: statusDead, down: downStatus{StalePIDFile: home.PIDFile}}, nil
	}
	daemon := client(home)
	defer daemon.Close()
	daemon.Timeout = statusTimeout
	status, err := daemon.Status(ctx)
	if err == nil {
		return view{Status: &status}, nil
	}
	problem := err.Error()
	switch {
	case errors.Is(err, api.ErrNoAnswer):
		problem = fmt.Sprintf("no answer within %v", daemon.Timeout)
	case errors.Is(err, api.ErrNotRunning):
		problem = "its socket is not open: it is starting or stopping"
	}
	return view{exit: statusUnknown, down: downStatus{Running: true, PID: info.PID, Error: problem}}, nil
}

// show prints a view.
func (c *cli) show(v view) error {
	switch {
	case v.Status != nil && c.json:
		return c.printJSON(v.Status)
	case c.json:
		return c.printJSON(v.down)
	case v.Status != nil:
		writeStatus(c.Stdout, v.Status)
	case v.down.Running:
		c.printf("Daemon is running (PID: %d), but does not answer: %s\n", v.down.PID, v.down.Error)
	default:
		c.printf("Daemon is not running\n")
		if v.down.StalePIDFile != "" {
			c.notef("It died and left %s; \"poppobuilder daemon start\" takes it over.", v.down.StalePIDFile)
		}
	}
	return nil
}

// writeStatus writes the text whose lines scripts rely on: what they know comes
// first, and what is newer follows on the line or below.
func writeStatus(w io.Writer, s *api.Status) {
	fmt.Fprintf(w, "Daemon is running (PID: %d)\n", s.PID)
	fmt.Fprintln(w, "Workers:")
	for _, worker := range s.Workers {
		fmt.Fprintf(w, "  Worker %d: PID %d, Uptime: %ds, Restarts: %d, State: %s", worker.ID, worker.PID, worker.Uptime, worker.Restarts, worker.State)
		if worker.Project != "" {
			fmt.Fprintf(w, ", Project: %s", worker.Project)
		}
		if worker.NextRetryMs != nil {
			fmt.Fprintf(w, ", Next start: in %s", roundDuration(time.Duration(*worker.NextRetryMs)*time.Millisecond))
		}
		if worker.LastExit != "" && worker.State != api.WorkerIdle && worker.State != api.WorkerBusy {
			fmt.Fprintf(w, ", Last exit: %s", worker.LastExit)
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "Queue: %d queued, %d running\n", s.Queue.Queued, s.Queue.Running)
	if s.Containment != "" {
		fmt.Fprintf(w, "Containment: %s\n", s.Containment)
	}
	if k := s.Keeper; k != nil && k.PID == 0 && s.State != api.StateStopping {
		fmt.Fprintf(w, "Keeper: %s; if the daemon is killed now, what it has started may outlive it\n", k.State)
	}
	if s.State != api.StateRunning {
		fmt.Fprintf(w, "Daemon is %s\n", s.State)
	}
	if s.Reload != nil && !s.Reload.OK {
		fmt.Fprintf(w, "Last reload was refused: %s\n", s.Reload.Error)
	}
	if t := s.Store; t != nil && t.Error != "" {
		fmt.Fprintf(w, "No new run is accepted since %s, until this is mended: %s\n", t.Since.Local().Format(time.DateTime), t.Error)
	}
	if t := s.Store; t != nil && t.Problem != "" {
		kept := "no file was kept"
		if t.Damaged != "" {
			kept = "what was there is kept as " + t.Damaged
		}
		fmt.Fprintf(w, "The file of runs was damaged: %s; %s, and %d runs could be read\n", t.Problem, kept, t.Salvaged)
	}
	writeDropped(w, s.Dropped)
}

// writeDropped writes what was lost, if anything was.
func writeDropped(w io.Writer, d api.Dropped) {
	if d.Events > 0 || d.LogLines > 0 {
		fmt.Fprintf(w, "Dropped: %d events, %d log lines\n", d.Events, d.LogLines)
	}
	for _, log := range d.Logs {
		fmt.Fprintf(w, "  %s: %d lines", log.Log, log.Lines)
		if log.Error != "" {
			fmt.Fprintf(w, " (%s)", log.Error)
		}
		fmt.Fprintln(w)
	}
	if d.OutputBytes > 0 {
		fmt.Fprintf(w, "Dropped output of workers: %d bytes\n", d.OutputBytes)
	}
	if d.Malformed > 0 || d.Unknown > 0 {
		fmt.Fprintf(w, "Messages of workers: %d malformed, %d unknown\n", d.Malformed, d.Unknown)
	}
}

// roundDuration keeps what people read of a duration.
func roundDuration(d time.Duration) time.Duration {
	if d < 10*time.Second {
		return d.Round(100 * time.Millisecond)
	}
	return d.Round(time.Second)
}
