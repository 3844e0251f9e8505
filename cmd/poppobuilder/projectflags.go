package main

import (
	"flag"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/poppobuilder/poppobuilder/internal/project"
)

// projectFlags are the flags that "project add" and "project set" share. Only
// those that were given change anything.
type projectFlags struct {
	fs         *flag.FlagSet
	name       string
	priority   int
	weight     float64
	interval   optionalDuration
	cron       string
	timezone   string
	hours      *project.ActiveHours
	jitter     time.Duration
	timeout    optionalDuration
	timeSlice  optionalDuration
	retries    optionalInt
	retryDelay optionalDuration
	leftovers  string
	interrupt  string
	env        map[string]string
	unsetEnv   []string
	limits     [][2]string // name, value
}

func newProjectFlags(fs *flag.FlagSet) *projectFlags {
	f := &projectFlags{fs: fs}
	fs.StringVar(&f.name, "name", "", "what people call it (add: the name of the directory)")
	fs.IntVar(&f.priority, "priority", project.DefaultPriority, "0..100, for the strategy \"priority\"; higher goes first")
	fs.Float64Var(&f.weight, "weight", project.DefaultWeight, "0.1..10, for the strategies \"weighted\" and \"fair\"")
	fs.Var(&f.interval, "interval", "pause between two runs; 0: none; \"default\": defaults.pollingInterval")
	fs.StringVar(&f.cron, "cron", "", "`expression` in place of an interval, such as \"30 3 * * 1-5\" or @daily")
	fs.StringVar(&f.timezone, "timezone", "local", "`zone` of --cron and --active-hours, such as Europe/Berlin; local: this machine's")
	fs.Func("active-hours", "when runs may start, as `HH:MM-HH:MM`; always: at any time", f.setHours)
	fs.Func("jitter", "`duration` less than which a due time is shifted, always alike for the same time; 0: none", f.setJitter)
	fs.Var(&f.timeSlice, "time-slice", "`duration` after which a run makes way for others that wait; 0: never; \"default\": defaults.timeSlice")
	fs.Var(&f.timeout, "timeout", "`duration` after which a run is stopped; 0: never; \"default\": defaults.runTimeout")
	fs.Var(&f.retries, "retries", "how often a failed run is tried again; \"default\": defaults.retryAttempts")
	fs.Var(&f.retryDelay, "retry-delay", "pause before the first retry; \"default\": defaults.retryDelay")
	fs.StringVar(&f.leftovers, "leftovers", project.LeftoversKill, "processes that outlive the command: `kill|wait` for them")
	fs.StringVar(&f.interrupt, "on-interrupt", project.InterruptRetry, "a run that was cut short: `retry|fail`")
	fs.Func("limits", "`NAME=VALUE` of a limit of its runs: "+strings.Join(project.LimitNames(), ", ")+"; VALUE \"default\": none; may be repeated", f.addLimit)
	fs.Func("env", "`NAME=VALUE` for the command; may be repeated", f.addEnv)
	return f
}

func (f *projectFlags) addEnv(entry string) error {
	name, value, ok := strings.Cut(entry, "=")
	if !ok || name == "" {
		return fmt.Errorf("want NAME=VALUE")
	}
	if f.env == nil {
		f.env = make(map[string]string)
	}
	f.env[name] = value
	return nil
}

// always is the value of --active-hours that takes them away.
const always = "always"

func (f *projectFlags) setHours(text string) error {
	if text == always {
		return nil
	}
	start, end, ok := strings.Cut(text, "-")
	if !ok {
		return fmt.Errorf("want HH:MM-HH:MM or %q", always)
	}
	f.hours = &project.ActiveHours{Start: start, End: end}
	return nil
}

func (f *projectFlags) setJitter(text string) error {
	var d optionalDuration
	if err := d.Set(text); err != nil || d.value == nil {
		return fmt.Errorf("want a duration such as 30s, or milliseconds")
	}
	f.jitter = *d.value
	return nil
}

func (f *projectFlags) addLimit(entry string) error {
	name, value, ok := strings.Cut(entry, "=")
	if !ok {
		return fmt.Errorf("want NAME=VALUE")
	}
	f.limits = append(f.limits, [2]string{name, value})
	return new(project.Limits).Set(name, value)
}

func (f *projectFlags) dropEnv(name string) error {
	f.unsetEnv = append(f.unsetEnv, name)
	return nil
}

// apply changes c by the flags that were given.
func (f *projectFlags) apply(c *project.Config) {
	f.fs.Visit(func(given *flag.Flag) {
		switch given.Name {
		case "name":
			c.Name = f.name
		case "priority":
			c.Priority = f.priority
		case "weight":
			c.Weight = f.weight
		case "interval":
			if c.CheckInterval = f.interval.value; f.cron == "" {
				c.Cron = ""
			}
		case "cron":
			if c.Cron = f.cron; f.interval.value == nil {
				c.CheckInterval = nil
			}
		case "timezone":
			if c.Timezone = f.timezone; f.timezone == "local" {
				c.Timezone = ""
			}
		case "active-hours":
			if f.hours != nil && c.ActiveHours != nil {
				f.hours.Timezone = c.ActiveHours.Timezone
			}
			c.ActiveHours = f.hours
		case "jitter":
			if c.Jitter = &f.jitter; f.jitter == 0 {
				c.Jitter = nil
			}
		case "time-slice":
			c.TimeSlice = f.timeSlice.value
		case "timeout":
			c.RunTimeout = f.timeout.value
		case "retries":
			c.RetryAttempts = f.retries.value
		case "retry-delay":
			c.RetryDelay = f.retryDelay.value
		case "leftovers":
			c.Leftovers = f.leftovers
		case "on-interrupt":
			c.OnInterrupt = f.interrupt
		}
	})
	for _, l := range f.limits {
		_ = c.Limits.Set(l[0], l[1]) // it was tried
	}
	if len(f.env) == 0 && len(f.unsetEnv) == 0 {
		return
	}
	env := maps.Clone(c.Env)
	if env == nil {
		env = make(map[string]string)
	}
	for _, name := range f.unsetEnv {
		delete(env, name)
	}
	maps.Copy(env, f.env)
	c.Env = env
}

// useDefault is the value of a flag that takes a project's own setting away.
const useDefault = "default"

// optionalDuration is a flag for a duration, nil for the daemon's default.
type optionalDuration struct{ value *time.Duration }

func (o *optionalDuration) String() string {
	if o.value == nil {
		return useDefault
	}
	return o.value.String()
}

// Set takes what the settings take: milliseconds, or text with a unit, days too.
func (o *optionalDuration) Set(text string) error {
	if text == useDefault {
		o.value = nil
		return nil
	}
	d, err := time.ParseDuration(text)
	number, unit := text, time.Millisecond
	if days, ok := strings.CutSuffix(text, "d"); ok {
		number, unit = days, 24*time.Hour
	}
	if n, numErr := strconv.ParseInt(number, 10, 64); numErr == nil {
		d, err = time.Duration(n)*unit, nil
		if int64(d/unit) != n {
			return fmt.Errorf("is too long")
		}
	}
	if err != nil || d < 0 {
		return fmt.Errorf("want a duration such as 30s or 7d, milliseconds, or %q", useDefault)
	}
	o.value = &d
	return nil
}

// optionalInt is a flag for a number, nil for the daemon's default.
type optionalInt struct{ value *int }

func (o *optionalInt) String() string {
	if o.value == nil {
		return useDefault
	}
	return strconv.Itoa(*o.value)
}

func (o *optionalInt) Set(text string) error {
	if text == useDefault {
		o.value = nil
		return nil
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return fmt.Errorf("want a number or %q", useDefault)
	}
	o.value = &n
	return nil
}
