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
//	  "config": {"name", "priority", "weight", "schedule": {"checkInterval"}, "github": {"owner", "repo"},
//	    "command", "env", "runTimeout", "retryAttempts", "retryDelay", "leftovers",
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
	Command       []string          // the program and its arguments; empty: not runnable
	Env           map[string]string // added to the daemon's environment
	RunTimeout    *time.Duration    // 0: none
	RetryAttempts *int              // 0..100
	RetryDelay    *time.Duration    // before the first retry
	Leftovers     string            // LeftoversKill, LeftoversWait, or "" for the default
	Limits        Limits
	GitHub        GitHub
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

// Attempts returns how often a failed run is tried again, or def.
func (c Config) Attempts(def int) int { return valueOr(c.RetryAttempts, def) }

// Delay returns the time before the first retry, or def.
func (c Config) Delay(def time.Duration) time.Duration { return valueOr(c.RetryDelay, def) }

// Runnable returns nil, or the sentence that says why the project cannot run and
// what to do about it. It looks at the entry only, not at the disk.
func (p Project) Runnable() error {
	if len(p.Config.Command) == 0 {
		return fmt.Errorf("project %q has no command: set one with \"poppobuilder project set %s -- COMMAND...\"", p.ID, p.ID)
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
	p.Config.RunTimeout = clonePointer(p.Config.RunTimeout)
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
