package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/poppobuilder/poppobuilder/internal/config"
	"github.com/poppobuilder/poppobuilder/internal/project"
	"github.com/poppobuilder/poppobuilder/pidfile"
)

func (c *cli) projectCommand() *ffcli.Command {
	return &ffcli.Command{
		Name:       "project",
		ShortUsage: "poppobuilder project add|list|show|set|enable|disable|pause|resume|remove|run|cancel|runs|logs ...",
		ShortHelp:  "manage the projects that the daemon runs",
		FlagSet:    newFlagSet("project"),
		Subcommands: []*ffcli.Command{
			c.projectAddCommand(),
			c.projectListCommand(),
			c.projectShowCommand(),
			c.projectSetCommand(),
			c.projectChangeCommand("enable", "let a project run again", "Enabled", func(p *project.Project) { p.Enabled = true }),
			c.projectChangeCommand("disable", "let a project rest and drop what is queued; a run that has begun goes on", "Disabled", func(p *project.Project) { p.Enabled = false }),
			c.projectChangeCommand("pause", "start nothing of a project, but keep what is queued", "Paused", func(p *project.Project) { p.Config.Paused = true }),
			c.projectChangeCommand("resume", "go on with a project that is paused", "Resumed", func(p *project.Project) { p.Config.Paused = false }),
			c.projectRemoveCommand(),
			c.projectRunCommand(),
			c.projectCancelCommand(),
			c.projectRunsCommand(),
			c.projectLogsCommand(),
		},
	}
}

func (c *cli) projectAddCommand() *ffcli.Command {
	fs := newFlagSet("add")
	id := fs.String("id", "", "the project's `id` (default: made of the directory's name)")
	flags := newProjectFlags(fs)
	disabled := fs.Bool("disabled", false, "add it, but do not run it yet")
	c.jsonFlag(fs)
	return &ffcli.Command{
		Name:       "add",
		ShortUsage: "poppobuilder project add DIR [--id ID] [FLAGS] [-- COMMAND...]",
		ShortHelp:  "add a project; a running daemon runs it at once",
		LongHelp: `The command is run in DIR. It is no shell script: for one, use sh -c '...'.
Without one, the project runs the setting defaults.command.

EXAMPLE
  poppobuilder project add ~/src/site --cron '30 3 * * 1-5' -- make report
  poppobuilder project add ~/src/shop --interval 10m --env LANG=C -- ./agent --once`,
		FlagSet: fs,
		Exec: func(ctx context.Context, args []string) error {
			own, command := splitCommand(args)
			if err := exactArgs(own, "DIR"); err != nil {
				return err
			}
			if len(command) == 0 && len(c.defaultCommand()) == 0 {
				return &usageError{problem: "the command is missing: put it behind \"--\""}
			}
			p, err := newProject(own[0], *id, command, flags)
			if err != nil {
				return err
			}
			p.Enabled = !*disabled
			if err := c.updateProjects(ctx, func(r *project.Registry) error { return r.Add(p) }); err != nil {
				return err
			}
			return c.result(p, "Added project %s (%s)", p.ID, p.Path)
		},
	}
}

// newProject is what "project add" adds. Its directory must be there.
func newProject(dir, id string, command []string, flags *projectFlags) (project.Project, error) {
	path, err := filepath.Abs(dir)
	if err != nil {
		return project.Project{}, err
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return project.Project{}, fmt.Errorf("find the project's directory: %w; create it first", err)
	case !info.IsDir():
		return project.Project{}, fmt.Errorf("%s is no directory: name the one that the command runs in", path)
	}
	if id == "" {
		id = project.DefaultID(path)
	}
	p := project.Project{
		ID:        id,
		Path:      path,
		CreatedAt: time.Now().UTC().Truncate(time.Millisecond),
		Config: project.Config{
			Name:     filepath.Base(path),
			Priority: project.DefaultPriority,
			Weight:   project.DefaultWeight,
			Command:  command,
		},
	}
	flags.apply(&p.Config)
	return p, nil
}

func (c *cli) projectSetCommand() *ffcli.Command {
	fs := newFlagSet("set")
	flags := newProjectFlags(fs)
	fs.Func("unset-env", "`NAME` that the command no longer gets; may be repeated", flags.dropEnv)
	c.jsonFlag(fs)
	return &ffcli.Command{
		Name:       "set",
		ShortUsage: "poppobuilder project set ID [FLAGS] [-- COMMAND...]",
		ShortHelp:  "change a project; what is not given stays as it is",
		LongHelp: `EXAMPLE
  poppobuilder project set shop --priority 80 --timeout 20m`,
		FlagSet: fs,
		Exec: func(ctx context.Context, args []string) error {
			own, command := splitCommand(args)
			if err := exactArgs(own, "ID"); err != nil {
				return err
			}
			return c.changeProject(ctx, own[0], "Changed", func(p *project.Project) {
				flags.apply(&p.Config)
				if len(command) > 0 {
					p.Config.Command = command
				}
			})
		},
	}
}

func (c *cli) projectChangeCommand(name, help, done string, change func(*project.Project)) *ffcli.Command {
	fs := newFlagSet(name)
	c.jsonFlag(fs)
	return &ffcli.Command{
		Name:       name,
		ShortUsage: "poppobuilder project " + name + " ID [--json]",
		ShortHelp:  help,
		LongHelp: `EXAMPLE
  poppobuilder project ` + name + ` shop`,
		FlagSet: fs,
		Exec: func(ctx context.Context, args []string) error {
			if err := exactArgs(args, "ID"); err != nil {
				return err
			}
			return c.changeProject(ctx, args[0], done, change)
		},
	}
}

// defaultCommand is the setting defaults.command; nil also if the settings
// cannot be read, which is for others to report.
func (c *cli) defaultCommand() []string {
	home, err := c.home()
	if err != nil {
		return nil
	}
	loaded, err := config.Load(config.Options{File: home.Config, Environ: c.Environ})
	if err != nil {
		return nil
	}
	return loaded.Defaults.Command
}

// changeProject changes one project and says so.
func (c *cli) changeProject(ctx context.Context, id, done string, change func(*project.Project)) error {
	var changed project.Project
	err := c.updateProjects(ctx, func(r *project.Registry) error {
		p, err := r.Get(id)
		if err != nil {
			return err
		}
		change(&p)
		changed = p
		return r.Set(p)
	})
	if err != nil {
		return err
	}
	return c.result(changed, "%s project %s", done, id)
}

func (c *cli) projectRemoveCommand() *ffcli.Command {
	fs := newFlagSet("remove")
	c.jsonFlag(fs)
	return &ffcli.Command{
		Name:       "remove",
		ShortUsage: "poppobuilder project remove ID [--json]",
		ShortHelp:  "forget a project; its directory stays",
		LongHelp: `EXAMPLE
  poppobuilder project remove shop`,
		FlagSet: fs,
		Exec: func(ctx context.Context, args []string) error {
			if err := exactArgs(args, "ID"); err != nil {
				return err
			}
			id := args[0]
			if err := c.updateProjects(ctx, func(r *project.Registry) error { return r.Remove(id) }); err != nil {
				return err
			}
			return c.result(map[string]string{"removed": id}, "Removed project %s", id)
		},
	}
}

// updateProjects changes projects.json and tells the daemon, if one runs.
func (c *cli) updateProjects(ctx context.Context, change func(*project.Registry) error) error {
	home, err := c.home()
	if err != nil {
		return err
	}
	if err := usableHome(home.Home); err != nil {
		return err
	}
	if err := (project.Store{Path: home.Projects}).Update(change); err != nil {
		return err
	}
	return c.syncDaemon(ctx, home)
}

// syncDaemon lets a running daemon take projects.json as it is now. One that
// cannot be told is worth a message; the change itself is made.
func (c *cli) syncDaemon(ctx context.Context, home config.Paths) error {
	info, err := pidfile.Read(home.PIDFile)
	if err != nil || info.State != pidfile.Held {
		return nil // the next start reads the file
	}
	daemon := client(home)
	defer daemon.Close()
	if err := daemon.SyncProjects(ctx); err != nil {
		c.notef("The change is saved, but the daemon (PID: %d) has not taken it: %v. Run \"poppobuilder daemon reload\".", info.PID, err)
	}
	return nil
}
