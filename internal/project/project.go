// Package project keeps the registry of projects: which directories the daemon
// works on, what it runs there, and how they share the pool.
//
//	store := project.Store{Path: "/home/me/.poppobuilder/projects.json"}
//	err := store.Update(func(r *project.Registry) error {
//		return r.Add(project.Project{
//			ID:      "web",
//			Path:    "/home/me/src/web",
//			Enabled: true,
//			Config:  project.Config{Priority: 50, Command: []string{"make", "check"}},
//		})
//	})
//
// # The file
//
// It is the registry of PoppoBuilder's Node program, which can go on using it:
//
//	{"version": "1.0.0", "projects": {ID: {
//	  "path": "/home/me/src/web", "enabled": true, "createdAt": "2006-01-02T15:04:05Z",
//	  "config": {"name", "priority", "weight", "github": {"owner", "repo"},
//	    "schedule": {"checkInterval" or "cron", "timezone", "activeHours": {"start", "end", "timezone"}, "jitter"},
//	    "command", "env", "runTimeout", "timeSlice", "retryAttempts", "retryDelay", "leftovers",
//	    "onInterrupt", "paused",
//	    "limits": {"nofile", "nproc", "core", "addressSpace", "memory", "pids", "nice", "umask"}}
//	}}}
//
// Only "path" is required. Durations are milliseconds or strings like "30s". A
// null is as good as no key. Keys that are not known, comments and layout
// survive a change by [Store.Update].
package project

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tailscale/hujson"
)

// What a project gets that does not say otherwise.
const (
	DefaultPriority = 50
	DefaultWeight   = 1.0
)

// What [Config.Leftovers] may be: what becomes of processes that a run's
// command leaves behind when it ends by itself.
const (
	LeftoversKill = "kill" // stopped at once, with the grace; the default
	LeftoversWait = "wait" // the run goes on until the last one has ended
)

// What [Config.OnInterrupt] may be: what becomes of a run that was cut short,
// because its worker or the daemon ended.
const (
	InterruptRetry = "retry" // it is queued again, as the next attempt; the default
	InterruptFail  = "fail"  // it is over, and the project waits for its interval
)

// A Project is a directory, the command that runs there, and how it shares the
// pool. Its JSON is an entry of projects.json with the id inside.
type Project struct {
	ID        string    `json:"id"`
	Path      string    `json:"path"` // absolute
	Enabled   bool      `json:"enabled"`
	CreatedAt time.Time `json:"createdAt,omitzero"`
	Config    Config    `json:"config"`
}

// Config is how a project runs. A nil pointer means that the daemon's default
// applies; [Config.Interval] and its like resolve it.
type Config struct {
	Name          string
	Priority      int               // 0..100, higher first
	Weight        float64           // 0.1..10; 0 stands for DefaultWeight
	CheckInterval *time.Duration    // from the end of a run to the next one; 0: at once
	Cron          string            // the times of runs, in place of CheckInterval
	Timezone      string            // of Cron and ActiveHours; empty: this machine's
	ActiveHours   *ActiveHours      // when runs may start; nil: always
	Jitter        *time.Duration    // less than which a time is shifted; nil, 0: not at all
	Command       []string          // the program and its arguments; empty: the daemon's default
	Env           map[string]string // added to the daemon's environment
	RunTimeout    *time.Duration    // 0: none
	TimeSlice     *time.Duration    // after which a run makes way for others that wait; 0: never
	Paused        bool              // starts nothing, and keeps what is queued
	RetryAttempts *int              // 0..100
	RetryDelay    *time.Duration    // before the first retry
	Leftovers     string            // LeftoversKill, LeftoversWait, or "" for the default
	OnInterrupt   string            // InterruptRetry, InterruptFail, or "" for the default
	Limits        Limits
	GitHub        GitHub
}

// ActiveHours is the part of each day in which runs may start that nobody asked
// for by hand. One that ends before it starts goes over midnight.
type ActiveHours struct {
	Start    string `json:"start,omitempty"`    // "HH:MM"; empty: "00:00"
	End      string `json:"end,omitempty"`      // "HH:MM", exclusive; empty: "24:00"
	Timezone string `json:"timezone,omitempty"` // empty: that of the schedule
}

// GitHub names the repository that a project belongs to; both may be empty.
type GitHub struct {
	Owner, Repo string
}

// DefaultConfig returns the config of a project that says nothing.
func DefaultConfig() Config {
	return Config{Priority: DefaultPriority, Weight: DefaultWeight}
}

// Interval returns the project's check interval, or def if it has none.
func (c Config) Interval(def time.Duration) time.Duration { return valueOr(c.CheckInterval, def) }

// Timeout returns the longest that a run may take, or def; 0 is no limit.
func (c Config) Timeout(def time.Duration) time.Duration { return valueOr(c.RunTimeout, def) }

// Slice returns how long a run may go on while others wait, or def; 0 is no
// limit.
func (c Config) Slice(def time.Duration) time.Duration { return valueOr(c.TimeSlice, def) }

// Attempts returns how often a failed run is tried again, or def.
func (c Config) Attempts(def int) int { return valueOr(c.RetryAttempts, def) }

// Delay returns the time before the first retry, or def.
func (c Config) Delay(def time.Duration) time.Duration { return valueOr(c.RetryDelay, def) }

// Command returns the project's command. One that has none gets def, the
// daemon's default, in which {dir} and {id} stand for the project's directory
// and id. Nil: there is none.
func (p Project) Command(def []string) []string {
	if len(p.Config.Command) > 0 || len(def) == 0 {
		return p.Config.Command
	}
	fill := strings.NewReplacer("{dir}", p.Path, "{id}", p.ID)
	command := make([]string, len(def))
	for i, arg := range def {
		command[i] = fill.Replace(arg)
	}
	return command
}

// Runnable returns nil, or the sentence that says why the project cannot run and
// what to do about it. It looks at the entry and at the daemon's default
// command, not at the disk.
func (p Project) Runnable(def []string) error {
	if len(p.Command(def)) == 0 {
		return fmt.Errorf("project %q has no command: set one with \"poppobuilder project set %s -- COMMAND...\", "+
			"or one for all with \"poppobuilder global-config set defaults.command\"", p.ID, p.ID)
	}
	return nil
}

// Equal reports whether p and q would be stored alike.
func (p Project) Equal(q Project) bool {
	a, errA := marshal(p)
	b, errB := marshal(q)
	return errA == nil && errB == nil && bytes.Equal(a, b)
}

// UnmarshalJSON reads an entry of projects.json, whose "id" is optional here.
// What is not said gets its default, keys that are not known are passed over.
// The error is [Faults] for values of a wrong type; ranges are checked by
// [Registry.Add] and [Registry.Set].
func (p *Project) UnmarshalJSON(data []byte) error {
	return unmarshal(data, p, (*decoder).project)
}

// UnmarshalJSON reads a config as it stands in projects.json, in the manner of
// [Project.UnmarshalJSON].
func (c *Config) UnmarshalJSON(data []byte) error {
	return unmarshal(data, c, (*decoder).config)
}

func unmarshal[T any](data []byte, to *T, decode func(*decoder, string, hujson.Value) T) error {
	d := decoder{data: data}
	root, ok := d.parse()
	if !ok {
		return d.faults.err()
	}
	v := decode(&d, "", root)
	if err := d.faults.err(); err != nil {
		return err
	}
	*to = v
	return nil
}

// clone returns a copy that shares nothing that can change.
func (p Project) clone() Project {
	p.Config.CheckInterval = clonePointer(p.Config.CheckInterval)
	p.Config.ActiveHours = clonePointer(p.Config.ActiveHours)
	p.Config.Jitter = clonePointer(p.Config.Jitter)
	p.Config.RunTimeout = clonePointer(p.Config.RunTimeout)
	p.Config.TimeSlice = clonePointer(p.Config.TimeSlice)
	p.Config.RetryAttempts = clonePointer(p.Config.RetryAttempts)
	p.Config.RetryDelay = clonePointer(p.Config.RetryDelay)
	p.Config.Command = slices.Clone(p.Config.Command)
	p.Config.Env = maps.Clone(p.Config.Env)
	p.Config.Limits = p.Config.Limits.clone()
	return p
}

func clonePointer[T any](p *T) *T {
	if p == nil {
		return nil
	}
	v := *p
	return &v
}

func valueOr[T any](p *T, def T) T {
	if p == nil {
		return def
	}
	return *p
}
