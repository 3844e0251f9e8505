package main

import (
	"context"
	"slices"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/poppobuilder/poppobuilder/internal/config"
)

func (c *cli) configInitCommand() *ffcli.Command {
	fs := newFlagSet("init")
	c.jsonFlag(fs)
	return &ffcli.Command{
		Name:       "init",
		ShortUsage: "poppobuilder global-config init [--json]",
		ShortHelp:  "write a config.json that explains every setting",
		LongHelp: `EXAMPLE
  poppobuilder global-config init`,
		FlagSet: fs,
		Exec: func(_ context.Context, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			home, err := c.home()
			if err != nil {
				return err
			}
			if err := usableHome(home.Home); err != nil {
				return err
			}
			if err := config.Init(home.Config); err != nil {
				return err
			}
			return c.result(configFile{File: home.Config}, "Wrote %s", home.Config)
		},
	}
}

// A configFile is what init, reset and path print as JSON.
type configFile struct {
	File   string `json:"file"`
	Backup string `json:"backup,omitempty"`
}

func (c *cli) configResetCommand() *ffcli.Command {
	fs := newFlagSet("reset")
	reload := fs.Bool("reload", false, "let the running daemon take it at once")
	c.jsonFlag(fs)
	return &ffcli.Command{
		Name:       "reset",
		ShortUsage: "poppobuilder global-config reset [--reload] [--json]",
		ShortHelp:  "go back to the defaults; the old file is kept beside the new one",
		LongHelp: `EXAMPLE
  poppobuilder global-config reset`,
		FlagSet: fs,
		Exec: func(ctx context.Context, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			home, err := c.home()
			if err != nil {
				return err
			}
			live := c.resetIsLive(home)
			backup, err := config.Reset(home.Config)
			if err != nil {
				return err
			}
			text := "All settings have their defaults"
			if backup != "" {
				text += "; the old file is " + backup
			}
			if err := c.result(configFile{File: home.Config, Backup: backup}, "%s", text); err != nil {
				return err
			}
			return c.tellEffect(ctx, home, *reload, live, "")
		},
	}
}

// resetIsLive reports whether a reload is enough for a running daemon to go
// back to the defaults.
func (c *cli) resetIsLive(home config.Paths) bool {
	loaded, err := c.settings(home, nil)
	if err != nil {
		return false
	}
	return !slices.ContainsFunc(config.Diff(loaded.Settings, config.Default()), func(name string) bool {
		key, _ := config.Lookup(name)
		return !key.Live
	})
}
