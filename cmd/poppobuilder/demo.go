package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/poppobuilder/poppobuilder/internal/config"
	"github.com/poppobuilder/poppobuilder/internal/project"
)

func (c *cli) demoCommand() *ffcli.Command {
	return &ffcli.Command{
		Name:       "demo",
		ShortUsage: "poppobuilder demo",
		ShortHelp:  "run a daemon with sample projects in a temporary home",
		LongHelp: `The daemon stays in the foreground and logs here until Ctrl-C, or until the
terminal is closed. Its home, with the sample projects and their logs, is then
removed. Your own daemon, if you have one, does not notice.`,
		FlagSet: newFlagSet("demo"),
		Exec: func(ctx context.Context, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			return c.demo(ctx)
		},
	}
}

// demoConfig shares two workers by weight, and is in a hurry.
const demoConfig = `{
  // Two workers for four projects: they have to share.
  "daemon": {
    "maxProcesses": 2,
    "schedulingStrategy": "weighted",
    "port": 0, // any free one
    "shutdownTimeout": "5s",
  },
  "defaults": { "retryDelay": "1s" },
}
`

// A sample is a project of the demo: a shell script, and how it shares.
type sample struct {
	id       string
	weight   float64
	interval time.Duration
	script   string
	about    string
}

func samples() []sample {
	return []sample{
		{
			id: "poller", weight: 1, interval: 2 * time.Second,
			script: `echo "looking for issues"; sleep 1; echo "nothing to do"`,
			about:  "polls every 2 s",
		},
		{
			id: "busy", weight: 3,
			script: `echo "attempt $POPPOBUILDER_ATTEMPT of run $POPPOBUILDER_RUN_ID on worker $POPPOBUILDER_WORKER_ID"; sleep 1`,
			about:  "always has work, and three times the weight of the others",
		},
		{
			id: "flaky", weight: 1, interval: 3 * time.Second,
			script: `echo "attempt $POPPOBUILDER_ATTEMPT"; sleep 1; [ "$POPPOBUILDER_ATTEMPT" -gt 2 ] || { echo "no luck" >&2; exit 1; }`,
			about:  "fails twice before it succeeds, and is tried again after 1 s, 2 s",
		},
		{
			id: "builder", weight: 1, interval: 5 * time.Second,
			script: `for i in 1 2 3 4 5 6 7 8 9 10; do echo "step $i of 10"; sleep 1; done`,
			about:  "runs for 10 s",
		},
	}
}

// demo runs the daemon in a home of its own.
func (c *cli) demo(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "poppobuilder-demo-")
	if err != nil {
		return fmt.Errorf("create the demo's home: %w", err)
	}
	defer os.RemoveAll(dir)
	home := config.NewPaths(filepath.Join(dir, "home"))
	if err := furnish(dir, home); err != nil {
		return fmt.Errorf("prepare the demo: %w", err)
	}
	self, err := c.executable()
	if err != nil {
		return err
	}
	c.introduce(strings.Join(self, " "), home.Home)
	c.Environ = append(demoEnvironment(c.Environ), config.HomeVariable+"="+home.Home)
	// A daemon takes HUP for a reload, and would outlive its terminal.
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGHUP)
	defer stop()
	return c.runDaemon(ctx, nil, nil)
}

// demoEnvironment is environ without anybody's settings.
func demoEnvironment(environ []string) []string {
	var rest []string
	for _, entry := range environ {
		if !strings.HasPrefix(entry, config.EnvPrefix) {
			rest = append(rest, entry)
		}
	}
	return rest
}

// furnish writes the demo's settings and projects.
func furnish(dir string, home config.Paths) error {
	if err := os.MkdirAll(home.Home, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(home.Config, []byte(demoConfig), 0o600); err != nil {
		return err
	}
	return project.Store{Path: home.Projects}.Update(func(r *project.Registry) error {
		for _, s := range samples() {
			p := project.Project{ID: s.id, Path: filepath.Join(dir, s.id), Enabled: true, CreatedAt: time.Now(), Config: project.DefaultConfig()}
			p.Config.Weight = s.weight
			p.Config.CheckInterval = &s.interval
			p.Config.Command = []string{"sh", "-c", s.script}
			if err := os.Mkdir(p.Path, 0o755); err != nil {
				return err
			}
			if err := r.Add(p); err != nil {
				return err
			}
		}
		return nil
	})
}

// introduce says what is about to be seen.
func (c *cli) introduce(self, home string) {
	c.printf("This is a daemon with two workers and four sample projects:\n\n")
	for _, s := range samples() {
		c.printf("  %-8s %s\n", s.id, s.about)
	}
	c.printf(`
Try this in another terminal:

  export %[1]s=%[2]s
  alias pb=%[3]s
  pb daemon status --watch          # who works on what
  pb project logs -f busy           # what a project prints
  pb project runs flaky             # failures and retries
  pb project run poller             # now, not in 2 s
  pb global-config set daemon.maxProcesses 4 --reload
  kill -9 $(pb daemon status --json | sed 's/.*"workers":\[{"id":0,"pid":\([0-9]*\).*/\1/')   # a worker crashes, and comes back

Ctrl-C ends it. Its log:

`, config.HomeVariable, home, self)
}
