package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/poppobuilder/poppobuilder/internal/config"
)

// validation is what validate prints as JSON.
type validation struct {
	Valid   bool             `json:"valid"`
	File    string           `json:"file"`
	Faults  []config.Fault   `json:"faults"`
	Ignored []config.Ignored `json:"ignored"`
}

func (c *cli) configValidateCommand() *ffcli.Command {
	flags := newFlagSet("validate")
	c.jsonFlag(flags)
	return &ffcli.Command{
		Name:       "validate",
		ShortUsage: "poppobuilder global-config validate [FILE] [--json]",
		ShortHelp:  "check config.json, or FILE, and print every fault",
		LongHelp: `Exit codes: 0 valid, 6 not.

EXAMPLE
  poppobuilder global-config validate ./new.json`,
		FlagSet: flags,
		Exec: func(_ context.Context, args []string) error {
			file, err := c.fileArg(args)
			if err != nil {
				return err
			}
			_, err = os.Stat(file)
			if len(args) == 0 && errors.Is(err, fs.ErrNotExist) {
				missing := validation{Valid: true, File: file, Faults: []config.Fault{}, Ignored: []config.Ignored{}}
				return c.result(missing, "There is no %s, which is valid: all settings have their defaults", file)
			}
			return c.validate(file)
		},
	}
}

// fileArg is the optional FILE, else config.json.
func (c *cli) fileArg(args []string) (string, error) {
	if len(args) > 0 {
		return args[0], noArgs(args[1:])
	}
	home, err := c.home()
	return home.Config, err
}

// validate prints faults as data: they are what was asked for.
func (c *cli) validate(file string) error {
	ignored, err := config.Validate(file)
	faults, invalid := errors.AsType[config.Faults](err)
	if err != nil && !invalid {
		return err
	}
	if c.json {
		v := validation{Valid: !invalid, File: file, Faults: []config.Fault{}, Ignored: []config.Ignored{}}
		v.Faults = append(v.Faults, faults...)
		v.Ignored = append(v.Ignored, ignored...)
		if err := c.printJSON(v); err != nil {
			return err
		}
	} else {
		for _, f := range faults {
			c.printf("%s\n", f)
		}
		for _, i := range ignored {
			c.notef("%s", i)
		}
		if !invalid {
			c.printf("%s is valid\n", file)
		}
	}
	if invalid {
		return statusExit(exitNotConfigured)
	}
	return nil
}

func (c *cli) configSchemaCommand() *ffcli.Command {
	return &ffcli.Command{
		Name:       "schema",
		ShortUsage: "poppobuilder global-config schema",
		ShortHelp:  "print the JSON schema of config.json",
		LongHelp: `EXAMPLE
  poppobuilder global-config schema > config.schema.json`,
		FlagSet: newFlagSet("schema"),
		Exec: func(_ context.Context, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			c.printf("%s\n", strings.TrimSpace(string(config.Schema())))
			return nil
		},
	}
}

func (c *cli) configPathCommand() *ffcli.Command {
	fs := newFlagSet("path")
	c.jsonFlag(fs)
	return &ffcli.Command{
		Name:       "path",
		ShortUsage: "poppobuilder global-config path [--json]",
		ShortHelp:  "print where config.json is, or would be",
		LongHelp: `EXAMPLE
  $EDITOR "$(poppobuilder global-config path)"`,
		FlagSet: fs,
		Exec: func(_ context.Context, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			home, err := c.home()
			if err != nil {
				return err
			}
			return c.result(configFile{File: home.Config}, "%s", home.Config)
		},
	}
}
