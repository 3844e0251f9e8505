package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/poppobuilder/poppobuilder/internal/api"
	"github.com/poppobuilder/poppobuilder/internal/config"
	"github.com/poppobuilder/poppobuilder/pidfile"
)

func (c *cli) globalConfigCommand() *ffcli.Command {
	return &ffcli.Command{
		Name:       "global-config",
		ShortUsage: "poppobuilder global-config init|get|set|unset|list|reset|validate|schema|path ...",
		ShortHelp:  "read and change the settings in config.json",
		LongHelp:   settingsHelp(),
		FlagSet:    newFlagSet("global-config"),
		Subcommands: []*ffcli.Command{
			c.configInitCommand(),
			c.configGetCommand(),
			c.configSetCommand(),
			c.configUnsetCommand(),
			c.configListCommand(),
			c.configResetCommand(),
			c.configValidateCommand(),
			c.configSchemaCommand(),
			c.configPathCommand(),
		},
	}
}

// settingsHelp lists every key.
func settingsHelp() string {
	var b strings.Builder
	b.WriteString("SETTINGS\n")
	for _, key := range config.Keys() {
		fmt.Fprintf(&b, "  %-30s %s (default %s)\n", key.Name, key.Help, key.Default)
	}
	b.WriteString("\nEXAMPLE\n  poppobuilder global-config set daemon.maxProcesses 4 --reload")
	return b.String()
}

func (c *cli) configGetCommand() *ffcli.Command {
	fs := newFlagSet("get")
	c.jsonFlag(fs)
	return &ffcli.Command{
		Name:       "get",
		ShortUsage: "poppobuilder global-config get KEY [--json]",
		ShortHelp:  "print the effective value of a setting",
		LongHelp: `EXAMPLE
  poppobuilder global-config get daemon.maxProcesses`,
		FlagSet: fs,
		Exec: func(_ context.Context, args []string) error {
			if err := exactArgs(args, "KEY"); err != nil {
				return err
			}
			entries, err := c.effective()
			if err != nil {
				return err
			}
			for _, entry := range entries {
				if entry.Key == args[0] {
					return c.result(entry, "%s", entry.Text)
				}
			}
			_, _, err = config.Get(config.Options{}, args[0])
			return unknownKey(err)
		},
	}
}

func (c *cli) configListCommand() *ffcli.Command {
	fs := newFlagSet("list")
	c.jsonFlag(fs)
	return &ffcli.Command{
		Name:       "list",
		ShortUsage: "poppobuilder global-config list [--json]",
		ShortHelp:  "print all effective values and where each comes from",
		LongHelp: `EXAMPLE
  poppobuilder global-config list`,
		FlagSet: fs,
		Exec: func(_ context.Context, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			entries, err := c.effective()
			if err != nil {
				return err
			}
			if c.json {
				return c.printJSON(entries)
			}
			return c.table(func(w io.Writer) {
				for _, entry := range entries {
					fmt.Fprintf(w, "%s\t%s\t%s\n", entry.Key, entry.Text, entry.Origin)
				}
			})
		},
	}
}

// effective lists the settings as a daemon that starts now would see them.
func (c *cli) effective() ([]config.Entry, error) {
	home, err := c.home()
	if err != nil {
		return nil, err
	}
	return config.List(config.Options{File: home.Config, Environ: c.Environ})
}

// unknownKey makes a usage error of a key that does not exist, and returns any
// other error as it is.
func unknownKey(err error) error {
	if unknown, ok := errors.AsType[*config.UnknownKeyError](err); ok {
		return &usageError{problem: unknown.Error()}
	}
	return err
}

// keyNames lists the settings.
func keyNames() []string {
	keys := config.Keys()
	names := make([]string, len(keys))
	for i, key := range keys {
		names[i] = key.Name
	}
	return names
}

func (c *cli) configSetCommand() *ffcli.Command {
	fs := newFlagSet("set")
	reload := fs.Bool("reload", false, "let the running daemon take it at once")
	c.jsonFlag(fs)
	return &ffcli.Command{
		Name:       "set",
		ShortUsage: "poppobuilder global-config set KEY VALUE [--reload] [--json]",
		ShortHelp:  "change a setting; the rest of the file stays as it is",
		LongHelp: `Durations are milliseconds or text (30s), sizes bytes or text (10M).

EXAMPLE
  poppobuilder global-config set daemon.schedulingStrategy weighted`,
		FlagSet: fs,
		Exec: func(ctx context.Context, args []string) error {
			if err := exactArgs(args, "KEY", "VALUE"); err != nil {
				return err
			}
			return c.changeSetting(ctx, *reload, args[0], func(file string) (config.Change, error) {
				return config.Set(file, args[0], args[1])
			})
		},
	}
}

func (c *cli) configUnsetCommand() *ffcli.Command {
	fs := newFlagSet("unset")
	reload := fs.Bool("reload", false, "let the running daemon take it at once")
	c.jsonFlag(fs)
	return &ffcli.Command{
		Name:       "unset",
		ShortUsage: "poppobuilder global-config unset KEY [--reload] [--json]",
		ShortHelp:  "remove a setting from the file, so that its default applies",
		LongHelp: `EXAMPLE
  poppobuilder global-config unset daemon.port`,
		FlagSet: fs,
		Exec: func(ctx context.Context, args []string) error {
			if err := exactArgs(args, "KEY"); err != nil {
				return err
			}
			return c.changeSetting(ctx, *reload, args[0], func(file string) (config.Change, error) {
				return config.Unset(file, args[0])
			})
		},
	}
}

// changeSetting changes one key and tells when it takes effect.
func (c *cli) changeSetting(ctx context.Context, reload bool, key string, change func(file string) (config.Change, error)) error {
	home, err := c.home()
	if err != nil {
		return err
	}
	if err := usableHome(home.Home); err != nil {
		return err
	}
	done, err := change(home.Config)
	if err != nil {
		return unknownKey(err)
	}
	if c.json {
		if err := c.printJSON(done); err != nil {
			return err
		}
	} else if done.Changed {
		c.printf("%s: %s -> %s\n", done.Key, done.Old, done.New)
	} else {
		c.printf("%s is %s already\n", done.Key, done.New)
	}
	if key, ok := config.Lookup(key); ok && done.Changed && isSet(c.Environ, key.Env()) {
		c.notef("In this environment %s wins over it.", key.Env())
	}
	if !done.Changed && !reload {
		return nil
	}
	return c.tellEffect(ctx, home, reload, done.Live, done.Key)
}

// isSet reports whether a variable has a value.
func isSet(environ []string, name string) bool {
	return slices.ContainsFunc(environ, func(entry string) bool {
		value, ok := strings.CutPrefix(entry, name+"=")
		return ok && value != ""
	})
}

// tellEffect says how a changed setting reaches the daemon, and lets it reload
// where that was asked for. An empty key stands for all settings.
func (c *cli) tellEffect(ctx context.Context, home config.Paths, reload, live bool, key string) error {
	info, err := pidfile.Read(home.PIDFile)
	if err != nil {
		return err
	}
	if info.State != pidfile.Held {
		c.notef("It takes effect at the next start of the daemon.")
		return nil
	}
	daemon := client(home)
	defer daemon.Close()
	if reload {
		if _, err := daemon.Reload(ctx); err != nil {
			return fmt.Errorf("reload the daemon: %w", err)
		}
	}
	winner := overriding(ctx, daemon, key)
	switch {
	case winner != "":
		c.notef("The running daemon was started with %s, which wins over the file.", winner)
	case !live:
		c.notef("The running daemon takes it at \"poppobuilder daemon restart\" only.")
	case reload:
		c.notef("The running daemon has taken it.")
	default:
		c.notef("The running daemon takes it at \"poppobuilder daemon reload\".")
	}
	return nil
}

// overriding names the flag or the variable from which the daemon has a setting
// whatever the file says, or is empty.
func overriding(ctx context.Context, daemon *api.Client, key string) string {
	daemon.Timeout = statusTimeout
	var entries []config.Entry
	if daemon.Config(ctx, &entries) != nil {
		return "" // only the message gets less exact
	}
	for _, entry := range entries {
		if entry.Key == key && (entry.Origin.Source == config.FromFlag || entry.Origin.Source == config.FromEnv) {
			return entry.Origin.Detail
		}
	}
	return ""
}
