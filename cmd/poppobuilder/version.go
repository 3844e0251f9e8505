package main

import (
	"context"
	"runtime"
	"runtime/debug"

	"github.com/peterbourgon/ff/v3/ffcli"
)

// release is the version that this source tree becomes.
const release = "0.1.0"

// versionInfo says which program this is.
type versionInfo struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"` // of the repository it was built from
	Modified bool   `json:"modified,omitempty"` // the tree had changes
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// version reads what the build left in the program.
func version() versionInfo {
	v := versionInfo{Version: release, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	build, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	for _, setting := range build.Settings {
		switch setting.Key {
		case "vcs.revision":
			v.Revision = setting.Value
		case "vcs.modified":
			v.Modified = setting.Value == "true"
		}
	}
	return v
}

func (c *cli) versionCommand() *ffcli.Command {
	fs := newFlagSet("version")
	c.jsonFlag(fs)
	return &ffcli.Command{
		Name:       "version",
		ShortUsage: "poppobuilder version [--json]",
		ShortHelp:  "say which program this is",
		LongHelp: `EXAMPLE
  poppobuilder version --json`,
		FlagSet: fs,
		Exec: func(_ context.Context, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			v := version()
			if c.json {
				return c.printJSON(v)
			}
			c.printf("poppobuilder %s", v.Version)
			if len(v.Revision) >= 12 {
				c.printf(" (%s)", v.Revision[:12])
			}
			c.printf(" %s %s\n", v.Go, v.Platform)
			return nil
		},
	}
}
