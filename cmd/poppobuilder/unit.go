package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/poppobuilder/poppobuilder/internal/api"
	"github.com/poppobuilder/poppobuilder/internal/master"
)

// unitOptions is what the text of a unit depends on.
type unitOptions struct {
	Command     []string // how to start this program
	Home        string
	PIDFile     string
	StopTimeout time.Duration // what the daemon grants its runs
	User        bool          // a unit of the user's own manager
	Forking     bool          // Type=forking instead of Type=notify
}

// stopMargin is how much longer than the daemon whoever stops it waits.
const stopMargin = 10 * time.Second

// unitText writes a systemd unit, as systemd.service(5) and systemd.exec(5)
// describe it. It asks for nothing that systemd 252 does not know.
func unitText(o unitOptions) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }

	manager, folder, target := "systemctl", "/etc/systemd/system", "multi-user.target"
	if o.User {
		manager, folder, target = "systemctl --user", "~/.config/systemd/user", "default.target"
	}
	line("# Save this as %s/poppobuilder.service, then:", folder)
	line("#   %s daemon-reload", manager)
	line("#   %s enable --now poppobuilder", manager)
	if o.User {
		line("# To keep it running while you are logged out: loginctl enable-linger")
	}
	line("[Unit]")
	line("Description=PoppoBuilder daemon")
	if !o.User {
		line("After=network.target")
	}
	line("# A configuration that cannot work is reported once, not five times.")
	line("StartLimitIntervalSec=60")
	line("StartLimitBurst=5")
	line("")
	line("[Service]")
	start := slices.Concat(o.Command, []string{"daemon", "start"})
	if o.Forking {
		line("Type=forking")
		line("PIDFile=%s", escapeSpecifiers(o.PIDFile))
		line("ExecStart=%s", execLine(start))
	} else {
		line("Type=notify")
		line("NotifyAccess=main")
		line("ExecStart=%s", execLine(append(start, "--foreground")))
		line("WatchdogSec=30")
	}
	line("ExecReload=%s", execLine(slices.Concat(o.Command, []string{"daemon", "reload"})))
	line("Environment=%s", quoteUnit("POPPOBUILDER_HOME="+o.Home, false))
	line("# So that \"poppobuilder daemon restart\" leaves restarting to systemd.")
	line("Environment=%s=%s", master.ManagerVariable, api.ManagerSystemd)
	line("# The daemon stops its workers itself; what it leaves is killed.")
	line("KillMode=mixed")
	line("TimeoutStopSec=%d", int((o.StopTimeout+stopMargin+time.Second-1)/time.Second))
	line("Restart=on-failure")
	line("RestartSec=1")
	line("# Usage errors, missing rights and bad settings do not get better by trying again.")
	line("RestartPreventExitStatus=%d %d %d", exitUsage, exitNoPrivilege, exitNotConfigured)
	line("# Lets the daemon give each worker a control group of its own.")
	line("Delegate=yes")
	line("")
	line("[Install]")
	line("WantedBy=%s", target)
	return b.String()
}

// execLine writes a command line for ExecStart= and its like. In the first word,
// the program, systemd expands no variables.
func execLine(command []string) string {
	words := make([]string, len(command))
	for i, word := range command {
		words[i] = quoteUnit(word, i > 0)
	}
	return strings.Join(words, " ")
}

// quoteUnit writes one word for a unit file, by "Quoting" in systemd.syntax(7):
// "%" starts a specifier everywhere, "$" a variable in arguments of commands.
func quoteUnit(word string, argument bool) string {
	word = escapeSpecifiers(word)
	if argument {
		word = strings.ReplaceAll(word, "$", "$$")
	}
	if word != "" && !strings.ContainsAny(word, " \t\n\"'\\;") {
		return word
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\t", `\t`).Replace(word) + `"`
}

// escapeSpecifiers is enough for a setting that is one path, where quotes would
// be taken literally.
func escapeSpecifiers(path string) string { return strings.ReplaceAll(path, "%", "%%") }

func (c *cli) unitCommand() *ffcli.Command {
	fs := newFlagSet("unit")
	user := fs.Bool("user", false, "for the user's own manager (systemctl --user)")
	kind := fs.String("type", "notify", "how systemd learns that the daemon is ready: `notify|forking`")
	return &ffcli.Command{
		Name:       "unit",
		ShortUsage: "poppobuilder daemon unit [--user] [--type notify|forking]",
		ShortHelp:  "print a systemd unit for this program and home",
		LongHelp: `EXAMPLE
  poppobuilder daemon unit --user > ~/.config/systemd/user/poppobuilder.service`,
		FlagSet: fs,
		Exec: func(_ context.Context, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			if *kind != "notify" && *kind != "forking" {
				return &usageError{problem: fmt.Sprintf("--type %q is unknown: use notify or forking", *kind)}
			}
			home, err := c.home()
			if err != nil {
				return err
			}
			command, err := c.executable()
			if err != nil {
				return err
			}
			if strings.ContainsAny(command[0], "\"'\\\n") {
				return fmt.Errorf("systemd starts no program whose path has quotes in it: move %s", command[0])
			}
			c.printf("%s", unitText(unitOptions{
				Command:     command,
				Home:        home.Home,
				PIDFile:     home.PIDFile,
				StopTimeout: c.shutdownTimeout(home, nil),
				User:        *user,
				Forking:     *kind == "forking",
			}))
			return nil
		},
	}
}
