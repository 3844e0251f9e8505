package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/poppobuilder/poppobuilder/internal/api"
	"github.com/poppobuilder/poppobuilder/internal/project"
	"github.com/poppobuilder/poppobuilder/pidfile"
)

func (c *cli) projectListCommand() *ffcli.Command {
	fs := newFlagSet("list")
	watch := watchFlag(fs)
	c.jsonFlag(fs)
	return &ffcli.Command{
		Name:       "list",
		ShortUsage: "poppobuilder project list [--watch] [--json]",
		ShortHelp:  "list the projects and what each is doing",
		LongHelp: `EXAMPLE
  poppobuilder project list`,
		FlagSet: fs,
		Exec: func(ctx context.Context, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			return c.watch(ctx, *watch, c.listProjects)
		},
	}
}

func (c *cli) listProjects(ctx context.Context) error {
	projects, err := c.projects(ctx)
	if err != nil {
		return err
	}
	if c.json {
		return c.printJSON(projects)
	}
	if len(projects) == 0 {
		c.notef("There are no projects: add one with \"poppobuilder project add DIR -- COMMAND...\".")
		return nil
	}
	return c.table(func(w io.Writer) {
		fmt.Fprintf(w, "ID\tSTATE\tPRIORITY\tWEIGHT\tWHEN\tNEXT\tPATH\n")
		for _, p := range projects {
			fmt.Fprintf(w, "%s\t%s\t%d\t%g\t%s\t%s\t%s\n", p.ID, p.State, p.Config.Priority, p.Config.Weight,
				cmp.Or(p.Config.Cron, orDefault(p.Config.CheckInterval)), nextRun(p), p.Path)
		}
	})
}

// projects asks the daemon. Without one, the registry knows as much as there is
// to know.
func (c *cli) projects(ctx context.Context) ([]api.Project, error) {
	home, err := c.home()
	if err != nil {
		return nil, err
	}
	if info, err := pidfile.Read(home.PIDFile); err == nil && info.State == pidfile.Held {
		daemon := client(home)
		defer daemon.Close()
		projects, err := daemon.Projects(ctx)
		if err == nil {
			return projects, nil
		}
		c.notef("The daemon (PID: %d) does not say what the projects are doing: %v", info.PID, err)
	}
	registry, err := project.Store{Path: home.Projects}.Load()
	if err != nil {
		return nil, err
	}
	projects, command := []api.Project{}, c.defaultCommand()
	for _, p := range registry.Projects() {
		projects = append(projects, restingProject(p, command))
	}
	return projects, nil
}

// restingProject is what is known of a project that no daemon runs.
func restingProject(p project.Project, command []string) api.Project {
	resting := api.Project{Project: p}
	resting.State = api.ProjectIdle
	if p.Config.Paused {
		resting.State = api.ProjectPaused
	}
	if err := p.Runnable(command); err != nil {
		resting.State, resting.Problem = api.ProjectNotRunnable, err.Error()
	}
	if !p.Enabled {
		resting.State = api.ProjectDisabled
	}
	return resting
}

func (c *cli) projectShowCommand() *ffcli.Command {
	fs := newFlagSet("show")
	c.jsonFlag(fs)
	return &ffcli.Command{
		Name:       "show",
		ShortUsage: "poppobuilder project show ID [--json]",
		ShortHelp:  "show one project",
		LongHelp: `EXAMPLE
  poppobuilder project show shop`,
		FlagSet: fs,
		Exec: func(ctx context.Context, args []string) error {
			if err := exactArgs(args, "ID"); err != nil {
				return err
			}
			home, err := c.home()
			if err != nil {
				return err
			}
			registry, err := project.Store{Path: home.Projects}.Load()
			if err != nil {
				return err
			}
			stored, err := registry.Get(args[0])
			if err != nil {
				return err
			}
			shown := restingProject(stored, c.defaultCommand())
			if info, err := pidfile.Read(home.PIDFile); err == nil && info.State == pidfile.Held {
				daemon := client(home)
				defer daemon.Close()
				if live, err := daemon.Project(ctx, args[0]); err == nil {
					shown = live
				}
			}
			if c.json {
				return c.printJSON(shown)
			}
			return c.table(func(w io.Writer) { writeProject(w, shown) })
		},
	}
}

// writeProject writes one field a line.
func writeProject(w io.Writer, p api.Project) {
	field := func(name, format string, args ...any) { fmt.Fprintf(w, name+":\t"+format+"\n", args...) }
	field("ID", "%s", p.ID)
	field("Name", "%s", p.Config.Name)
	field("State", "%s", p.State)
	if p.Problem != "" {
		field("Problem", "%s", p.Problem)
	}
	field("Path", "%s", p.Path)
	command := "default"
	if len(p.Config.Command) > 0 {
		command = shellWords(p.Config.Command)
	}
	field("Command", "%s", command)
	field("Priority", "%d", p.Config.Priority)
	field("Weight", "%g", p.Config.Weight)
	if p.Config.Cron != "" {
		field("Cron", "%s (%s)", p.Config.Cron, cmp.Or(p.Config.Timezone, "local time"))
	} else {
		field("Interval", "%s", orDefault(p.Config.CheckInterval))
	}
	if h := p.Config.ActiveHours; h != nil {
		field("Active hours", "%s-%s (%s)", cmp.Or(h.Start, "00:00"), cmp.Or(h.End, "24:00"), cmp.Or(h.Timezone, p.Config.Timezone, "local time"))
	}
	if p.Config.Jitter != nil {
		field("Jitter", "%s", *p.Config.Jitter)
	}
	field("Timeout", "%s", orDefault(p.Config.RunTimeout))
	field("Time slice", "%s", orDefault(p.Config.TimeSlice))
	retries := optionalInt{p.Config.RetryAttempts}
	field("Retries", "%s, the first after %s", &retries, orDefault(p.Config.RetryDelay))
	field("On interrupt", "%s", cmp.Or(p.Config.OnInterrupt, project.InterruptRetry))
	field("Leftovers", "%s", cmp.Or(p.Config.Leftovers, project.LeftoversKill))
	if limits := p.Config.Limits.String(); limits != "" {
		field("Limits", "%s", limits)
	}
	for _, name := range sortedKeys(p.Config.Env) {
		field("Env", "%s=%s", name, p.Config.Env[name])
	}
	if p.Run != "" {
		field("Run", "%s", p.Run)
	}
	next := nextRun(p)
	if !p.NextRunAt.IsZero() {
		next += " at " + p.NextRunAt.Local().Format("2006-01-02 15:04:05")
	}
	field("Next run", "%s", next)
	if p.LastRun != nil {
		field("Last run", "%s %s %s", p.LastRun.ID, p.LastRun.State, exitText(*p.LastRun))
	}
}

// orDefault is a duration as flags and tables write it.
func orDefault(d *time.Duration) string {
	return (&optionalDuration{d}).String()
}

// nextRun says when a project is due, and what that comes of.
func nextRun(p api.Project) string {
	why := ""
	if p.NextRunWhy != "" {
		why = " (" + p.NextRunWhy + ")"
	}
	d := time.Until(p.NextRunAt)
	switch {
	case p.NextRunAt.IsZero():
		return "-"
	case d <= 0:
		return "now" + why
	default:
		return "in " + d.Round(time.Second).String() + why
	}
}

// shellWords writes a command line so that a shell reads the same words.
func shellWords(command []string) string {
	words := make([]string, len(command))
	for i, word := range command {
		words[i] = word
		if word == "" || strings.ContainsAny(word, " \t\n\"'\\$`&|;<>()*?[]#~=%!{}") {
			words[i] = "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
		}
	}
	return strings.Join(words, " ")
}
