package config

import "time"

// Settings are the effective values of all keys. The zero value is not
// useful: [Load] and [Default] give complete ones.
type Settings struct {
	Daemon   Daemon
	Logging  Logging
	History  History
	Defaults Defaults
}

// Daemon is the master and its pool.
type Daemon struct {
	// Enabled false makes `daemon start` refuse.
	Enabled bool
	// MaxProcesses is the number of workers, 1 to 10.
	MaxProcesses int
	// SchedulingStrategy is one of the names of [Strategies].
	SchedulingStrategy string
	// Port is the TCP port of the API: nil for none (null in the file), 0 for
	// any free one.
	Port *int
	// Host is the address that Port listens on.
	Host string
	// ShutdownTimeout is how long runs may go on after a stop request. 0
	// kills them at once.
	ShutdownTimeout time.Duration
	Restart         Restart
	Worker          Worker
}

// Restart is how a crashed worker comes back.
type Restart struct {
	InitialDelay, MaxDelay time.Duration
	// Multiplier is the growth of the delay from one crash to the next.
	Multiplier float64
	// Jitter is the random part of the delay, 0 to 1.
	Jitter float64
	// ResetAfter is the stable time after which the delay starts over.
	ResetAfter time.Duration
	// MaxRestarts within Within gives up; 0 never does.
	MaxRestarts int
	Within      time.Duration
}

// Worker is the program that the pool runs.
type Worker struct {
	// Command is the program and its arguments; empty is the built-in worker.
	Command []string
	// ReadyTimeout bounds the time from start to the ready message.
	ReadyTimeout time.Duration
	// HeartbeatTimeout replaces a worker that was silent for so long; 0 asks
	// for no heartbeats.
	HeartbeatTimeout time.Duration
}

// Logging is what is logged and what is kept.
type Logging struct {
	Level  string // debug, info, warn, error
	Format string // text, json
	// MaxSize is the size in bytes at which a log file is rotated.
	MaxSize int64
	// MaxFiles is how many rotated files are kept of each log.
	MaxFiles int
	// MaxAge is when a rotated file is removed; 0 keeps it.
	MaxAge time.Duration
	// RotateEvery is the age at which a log file is rotated; 0: by size only.
	RotateEvery time.Duration
}

// History is what is remembered of runs that have ended.
type History struct {
	// MaxRuns is how many, of all projects together.
	MaxRuns int
	// MaxAge is when one is forgotten; 0 keeps it.
	MaxAge time.Duration
}

// Defaults are a project's settings where it has none of its own.
type Defaults struct {
	// PollingInterval is the pause between two runs of a project; 0 starts the
	// next at once.
	PollingInterval time.Duration
	// RunTimeout ends a run that takes longer; 0 lets it run.
	RunTimeout time.Duration
	// TimeSlice is how long a run may go on while others wait; 0 has no limit.
	TimeSlice time.Duration
	// Command is what a project without a command runs; {dir} and {id} stand
	// for its directory and id. Empty: nothing.
	Command []string
	// RetryAttempts is how often a failed run is tried again.
	RetryAttempts int
	// RetryDelay is the pause before the first of these; it doubles.
	RetryDelay time.Duration
}

// Default returns the settings of a machine without file, variable or flag.
func Default() Settings {
	var s Settings
	for _, k := range table() {
		v, problem := k.parseText(k.Default)
		if problem != "" {
			panic("config: default of " + k.Name + ": " + problem)
		}
		k.store(&s, v)
	}
	return s
}

// Diff returns the names of the keys whose values differ, in the order of
// [Keys]. The caller finds out with [Lookup] which of them need a restart.
func Diff(old, new Settings) []string {
	var names []string
	for _, k := range table() {
		if !equal(k.load(&old), k.load(&new)) {
			names = append(names, k.Name)
		}
	}
	return names
}
