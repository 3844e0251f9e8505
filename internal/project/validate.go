package project

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// MaxRetryAttempts is the most that [Config.RetryAttempts] may be.
const MaxRetryAttempts = 100

// validate returns what is wrong with p. Keys are relative to the project, for
// example "config.priority".
func (p Project) validate() Faults {
	var faults Faults
	check := func(ok bool, key, problem, allowed string) {
		if !ok {
			faults = append(faults, Fault{Key: key, Problem: problem, Allowed: allowed})
		}
	}
	check(validID(p.ID), "", fmt.Sprintf("%q cannot be a project's id", p.ID), idAllowed)
	check(p.Path != "", "path", "is missing", "an absolute path")
	check(p.Path == "" || filepath.IsAbs(p.Path), "path", fmt.Sprintf("%q is not absolute", p.Path), "an absolute path")
	check(isText(p.Path), "path", notText, "")
	p.Config.validate(check)
	return faults
}

func (c Config) validate(check func(ok bool, key, problem, allowed string)) {
	outOfRange := func(v any) string { return fmt.Sprintf("%v is out of range", v) }
	notNegative := func(d *time.Duration, key string) {
		check(d == nil || *d >= 0, key, fmt.Sprintf("%v is negative", valueOr(d, 0)), "0 or more")
	}

	check(utf8.ValidString(c.Name) && !strings.ContainsFunc(c.Name, unicode.IsControl), "config.name",
		fmt.Sprintf("%q is not a line of text", c.Name), "UTF-8 without control characters")
	check(utf8.ValidString(c.GitHub.Owner), "config.github.owner", notText, "")
	check(utf8.ValidString(c.GitHub.Repo), "config.github.repo", notText, "")
	check(c.Priority >= 0 && c.Priority <= 100, "config.priority", outOfRange(c.Priority), "0..100")
	check(c.Weight == 0 || c.Weight >= 0.1 && c.Weight <= 10, "config.weight", outOfRange(c.Weight), "0.1..10")
	notNegative(c.CheckInterval, "config.schedule.checkInterval")
	c.validateSchedule(check)
	notNegative(c.RunTimeout, "config.runTimeout")
	check(valueOr(c.TimeSlice, 0) == 0 || *c.TimeSlice >= time.Second, "config.timeSlice",
		outOfRange(valueOr(c.TimeSlice, 0)), "0, or 1s or more")
	notNegative(c.RetryDelay, "config.retryDelay")
	check(c.RetryAttempts == nil || *c.RetryAttempts >= 0 && *c.RetryAttempts <= MaxRetryAttempts,
		"config.retryAttempts", outOfRange(valueOr(c.RetryAttempts, 0)), fmt.Sprintf("0..%d", MaxRetryAttempts))
	check(c.Leftovers == "" || c.Leftovers == LeftoversKill || c.Leftovers == LeftoversWait,
		"config.leftovers", fmt.Sprintf("%q is unknown", c.Leftovers), "kill, wait")
	check(c.OnInterrupt == "" || c.OnInterrupt == InterruptRetry || c.OnInterrupt == InterruptFail,
		"config.onInterrupt", fmt.Sprintf("%q is unknown", c.OnInterrupt), "retry, fail")

	c.Limits.validate(check)

	check(len(c.Command) == 0 || c.Command[0] != "", "config.command", "names no program", "[program, argument...]")
	for i, arg := range c.Command {
		check(isText(arg), "config.command", fmt.Sprintf("element %d %s", i+1, notText), "")
	}
	for _, name := range slices.Sorted(maps.Keys(c.Env)) {
		key := "config.env." + name
		check(name != "" && !strings.Contains(name, "=") && isText(name), key,
			fmt.Sprintf("%q cannot be the name of an environment variable", name), `a name that is not empty and has no "="`)
		check(!slices.Contains(reserved, name), key, "marks what the daemon has started, so that it can be ended", "any other name")
		check(isText(c.Env[name]), key, notText, "")
	}
}

// reserved are the variables by which package keeper and package procworker find
// what was started when those that started it are dead. A run with other values
// would hide from them.
var reserved = []string{"POPPOBUILDER_KEEPER", "POPPOBUILDER_SPAWN"}

const notText = "is not UTF-8 text without NUL characters"

// isText reports whether s survives both JSON and the system's C strings.
func isText(s string) bool { return utf8.ValidString(s) && !strings.Contains(s, "\x00") }
