package api

import (
	"context"
	"encoding/json"
	"time"

	"github.com/poppobuilder/poppobuilder/internal/project"
	"github.com/poppobuilder/poppobuilder/internal/runs"
)

// States of the daemon, for [Status.State].
const (
	StateStarting = "starting" // not ready yet
	StateRunning  = "running"
	StateStopping = "stopping"
)

// States of a worker, for [Worker.State].
const (
	WorkerIdle     = "idle"
	WorkerBusy     = "busy"
	WorkerStarting = "starting"
	WorkerBackoff  = "backoff" // waits for its next start, with PID 0
	WorkerStopping = "stopping"
	WorkerGaveUp   = "gave-up" // failed too often; restart it by hand
)

// States of a project, for [Activity.State].
const (
	ProjectIdle        = "idle" // waits for its interval
	ProjectQueued      = "queued"
	ProjectRunning     = "running"
	ProjectPaused      = "paused"
	ProjectDisabled    = "disabled"
	ProjectNotRunnable = "not-runnable" // has no command
)

// How workers are kept together, for [Status.Containment].
const (
	ContainmentCgroup    = "cgroup"    // nothing escapes
	ContainmentSubreaper = "subreaper" // nothing that inherits its environment does
	ContainmentGroup     = "group"     // what leaves its process group does
)

// ManagerSystemd is the [Status.Manager] of a daemon that systemd started.
const ManagerSystemd = "systemd"

// A Status is what the daemon says about itself. It is a snapshot.
type Status struct {
	Running   bool      `json:"running"`
	PID       int       `json:"pid"`
	Uptime    int64     `json:"uptime"` // seconds
	Version   string    `json:"version"`
	Strategy  string    `json:"strategy"`
	State     string    `json:"state"` // [StateStarting] ...
	StartedAt time.Time `json:"startedAt,omitzero"`
	Home      string    `json:"home,omitempty"`
	// Flags are the settings flags that the daemon was started with.
	Flags []string `json:"flags,omitempty"`
	// Manager is the service manager that the daemon belongs to:
	// [ManagerSystemd], or empty.
	Manager string `json:"manager,omitempty"`
	// Containment is how workers and all that they start are found at their
	// end: [ContainmentCgroup] ...
	Containment string `json:"containment,omitempty"`

	Workers  []Worker      `json:"workers"`          // by ID
	Keeper   *Keeper       `json:"keeper,omitempty"` // nil: this system has none
	Queue    Queue         `json:"queue"`
	Projects ProjectCounts `json:"projects"`
	API      Addresses     `json:"api"`
	Dropped  Dropped       `json:"dropped"`
	Reload   *LastReload   `json:"reload,omitempty"` // nil: none yet
	Store    *StoreTrouble `json:"store,omitempty"`  // nil: all is well
}

// A Worker is one worker of the pool.
type Worker struct {
	ID          int    `json:"id"`     // from 0; kept across restarts
	PID         int    `json:"pid"`    // 0 while there is no process
	Uptime      int64  `json:"uptime"` // of the process, in seconds
	Restarts    int    `json:"restarts"`
	State       string `json:"state"` // [WorkerIdle] ...
	Project     string `json:"project,omitempty"`
	Run         string `json:"run,omitempty"`
	NextRetryMs *int64 `json:"nextRetryMs,omitempty"` // in backoff: milliseconds until the next start
	LastExit    string `json:"lastExit,omitempty"`    // such as "exit code 1", "signal SIGKILL"
	// Metrics are the latest figures that the process has sent.
	Metrics map[string]float64 `json:"metrics,omitempty"`
}

// A Keeper is the process that ends what a killed daemon leaves.
type Keeper struct {
	PID         int    `json:"pid"` // 0 while there is no process
	Restarts    int    `json:"restarts"`
	State       string `json:"state"`                 // as of a worker: idle, starting, backoff
	NextRetryMs *int64 `json:"nextRetryMs,omitempty"` // in backoff: milliseconds until the next start
}

// Queue counts runs.
type Queue struct {
	Queued  int `json:"queued"`
	Running int `json:"running"`
}

// ProjectCounts counts projects.
type ProjectCounts struct {
	Total   int `json:"total"`
	Enabled int `json:"enabled"`
}

// Addresses tells where the API listens.
type Addresses struct {
	Address string `json:"address"`          // of TCP, as in "127.0.0.1:45678"; empty: none
	Socket  string `json:"socket,omitempty"` // the path of the unix socket
}

// Dropped counts what was lost since the start.
type Dropped struct {
	Events      int64 `json:"events"`      // of workers' lives
	LogLines    int64 `json:"logLines"`    // of all logs: the daemon's, workers', projects'
	OutputBytes int64 `json:"outputBytes"` // that workers printed faster than they could be written
	Malformed   int64 `json:"malformed"`   // lines of workers that were no messages
	Unknown     int64 `json:"unknown"`     // messages of workers whose type is not known
	// Logs are those that could not take lines, which LogLines counts.
	Logs []LostLog `json:"logs,omitempty"`
}

// A LostLog is a log that could not take all lines, by its path in the folder
// of logs.
type LostLog struct {
	Log   string `json:"log"` // such as "projects/shop.log"
	Lines int64  `json:"lines"`
	Error string `json:"error,omitempty"` // the latest trouble, if it is known here
}

// LastReload tells how the last reload went.
type LastReload struct {
	At    time.Time `json:"at"`
	OK    bool      `json:"ok"`
	Error string    `json:"error,omitempty"`
}

// StoreTrouble tells what is wrong with the file in which runs are kept.
type StoreTrouble struct {
	Error string    `json:"error,omitempty"` // why no new run is accepted; empty: they are
	Since time.Time `json:"since,omitzero"`  // of the error
	// Problem is what was wrong with the file, or empty; then Damaged is where
	// what was found is kept, or empty if nothing was, and Salvaged how many runs
	// could be read.
	Damaged  string `json:"damaged,omitempty"`
	Problem  string `json:"problem,omitempty"`
	Salvaged int    `json:"salvaged,omitempty"`
}

// Public returns what anybody on this machine may see: s without settings,
// and without paths.
func (s Status) Public() Status {
	s.Home, s.Flags, s.API.Socket = "", nil, ""
	s.Dropped.Logs = nil
	if s.Reload != nil {
		s.Reload = &LastReload{At: s.Reload.At, OK: s.Reload.OK}
	}
	if s.Store != nil {
		s.Store = &StoreTrouble{Since: s.Store.Since}
	}
	return s
}

// A Project is an entry of the registry and what it is doing. Its JSON is one
// object with the keys of both.
type Project struct {
	project.Project
	Activity
}

// Activity is what a project is doing.
type Activity struct {
	State     string    `json:"state"`              // [ProjectIdle] ...
	Run       string    `json:"run,omitempty"`      // the run that is queued or running
	NextRunAt time.Time `json:"nextRunAt,omitzero"` // when it is due, unless asked for earlier
	// NextRunWhy tells what NextRunAt comes of: interval, cron, active-hours, or
	// the reason of the run that waits.
	NextRunWhy string    `json:"nextRunWhy,omitempty"`
	LastRun    *runs.Run `json:"lastRun,omitempty"` // the latest that ended
	Problem    string    `json:"problem,omitempty"` // why it is not runnable
}

// MarshalJSON implements [json.Marshaler].
func (p Project) MarshalJSON() ([]byte, error) {
	type entry project.Project // without methods, which would speak for the whole
	return json.Marshal(struct {
		entry
		Activity
	}{entry(p.Project), p.Activity})
}

// UnmarshalJSON implements [json.Unmarshaler].
func (p *Project) UnmarshalJSON(data []byte) error {
	if err := json.Unmarshal(data, &p.Project); err != nil {
		return err
	}
	return json.Unmarshal(data, &p.Activity)
}

// A Reload tells what a reload did.
type Reload struct {
	Changed       []string       `json:"changed"`       // keys that apply from now on
	RestartNeeded []string       `json:"restartNeeded"` // keys that apply after a restart
	Projects      ProjectChanges `json:"projects"`
}

// ProjectChanges lists ids of projects.
type ProjectChanges struct {
	Added   []string `json:"added"`
	Removed []string `json:"removed"`
	Changed []string `json:"changed"`
}

// A RunFilter selects runs. Its zero value selects the newest
// [DefaultRunLimit] of all.
type RunFilter struct {
	Project string     // empty: of any
	State   runs.State // empty: in any
	Limit   int        // at most so many, the newest; 1..[MaxRunLimit], 0: [DefaultRunLimit]
}

// Bounds of [RunFilter.Limit].
const (
	DefaultRunLimit = 100
	MaxRunLimit     = 10_000
)

// A Backend knows the answers: the daemon. Its methods are called from many
// goroutines at once. Each that takes a context returns soon after the context
// ends, because the caller may have gone; what it has begun goes on.
//
// An error that is or wraps a [*Problem] reaches the client as that problem.
// [project.ErrNotFound] and [runs.ErrNotFound] become [CodeNotFound],
// [project.ErrExists] becomes [CodeExists], [project.Faults] become
// [CodeInvalidProject], the end of a context becomes [CodeTimeout], and
// anything else becomes [CodeInternal].
type Backend interface {
	// Status returns the latest snapshot. It never blocks.
	Status() Status
	// Ready reports whether the daemon is ready for work. It never blocks.
	Ready() bool
	// Reload reads settings and projects anew. What is invalid changes
	// nothing and comes back as [CodeInvalidConfig], every fault in its detail.
	Reload(ctx context.Context) (Reload, error)
	// Stop begins to stop the daemon, gracefully or by KILL, and returns.
	Stop(ctx context.Context, kill bool) error
	// SyncProjects takes projects.json as it is now: somebody changed it.
	SyncProjects(ctx context.Context) error

	// Projects returns all projects, by id.
	Projects() []Project
	// Project returns one project.
	Project(id string) (Project, error)
	// AddProject registers a project.
	AddProject(ctx context.Context, p project.Project) error
	// SetProject replaces a project with what edit makes of it. Nothing
	// changes when edit returns an error, which comes back as it is.
	SetProject(ctx context.Context, id string, edit func(project.Project) (project.Project, error)) error
	// RemoveProject takes a project out of the registry.
	RemoveProject(ctx context.Context, id string) error
	// RunProject queues a run whose command gets args in addition. If such a
	// one is queued already it returns that.
	RunProject(ctx context.Context, id string, args []string) (runs.Run, error)
	// CancelProject stops the project's run, and returns when it has ended.
	CancelProject(ctx context.Context, id string) (runs.Run, error)

	// Runs returns the runs that the filter selects, newest first. The
	// filter's limit is never 0.
	Runs(filter RunFilter) []runs.Run
	// Run returns one run.
	Run(id string) (runs.Run, error)
	// AwaitRun returns a run when it has come so far.
	AwaitRun(ctx context.Context, id string, until runs.Until) (runs.Run, error)
	// RetryRun queues a run like one that has ended.
	RetryRun(ctx context.Context, id string) (runs.Run, error)

	// RestartWorker replaces the process of one worker, and returns when the
	// restart has begun.
	RestartWorker(ctx context.Context, id int) error
}
