package config

import (
	"slices"
	"strings"
	"sync"
	"time"
)

// Kind is the type of a key's value.
type Kind int

// The kinds, and the forms that they take in the file and as text (in flags,
// variables and [Set]).
const (
	Bool     Kind = iota // true, false
	Int                  // 3
	Float                // 1.5
	String               // any text
	Choice               // one of a list
	Duration             // 30000 or "30s"; as text 30000 or 30s
	Size                 // 10485760 or "10M"; as text 10485760 or 10M
	Port                 // 0 to 65535 or null; as text also none
	Command              // ["node", "worker.js"]; as text the same, or one program name
)

// Key describes one setting.
type Key struct {
	Name    string // as in daemon.maxProcesses
	Kind    Kind
	Default string   // as text
	Allowed string   // the valid values, in words
	Help    string   // one sentence, without a full stop
	Choices []string // of a Choice
	// Live keys change in a running daemon by a reload, the others by a
	// restart only.
	Live bool

	min, max float64 // inclusive; milliseconds for durations, bytes for sizes
	zero     bool    // 0 is valid below min
	field    func(*Settings) any
}

// EnvPrefix starts the name of every variable that is a setting.
const EnvPrefix = "POPPOBUILDER_"

// Env returns the name of the key's environment variable.
func (k Key) Env() string {
	return EnvPrefix + strings.ToUpper(strings.ReplaceAll(k.Name, ".", "_"))
}

// Strategies returns the names that daemon.schedulingStrategy takes.
func Strategies() []string { return []string{"round-robin", "priority", "weighted", "fair"} }

// Bounds of the durations, in milliseconds.
const (
	second = float64(time.Second / time.Millisecond)
	hour   = 3600 * second
	day    = 24 * hour
)

// Keys returns all settings, in the order in which they are listed.
//
// Three need a restart. daemon.host and daemon.port name a listener that
// clients hold open, and a reload that moved it could not answer its own
// caller; daemon.enabled is a question that only a start asks.
func Keys() []Key { return slices.Clone(table()) }

// table is Keys, made when it is first needed; nobody changes it.
var table = sync.OnceValue(func() []Key {
	keys := []Key{
		{
			Name: "daemon.enabled", Kind: Bool, Default: "true",
			Help:  "whether the daemon may be started",
			field: func(s *Settings) any { return &s.Daemon.Enabled },
		},
		{
			Name: "daemon.maxProcesses", Kind: Int, Default: "2", min: 1, max: 10, Live: true,
			Help:  "number of worker processes",
			field: func(s *Settings) any { return &s.Daemon.MaxProcesses },
		},
		{
			Name: "daemon.schedulingStrategy", Kind: Choice, Default: "round-robin", Choices: Strategies(), Live: true,
			Help:  "how projects share the workers",
			field: func(s *Settings) any { return &s.Daemon.SchedulingStrategy },
		},
		{
			Name: "daemon.port", Kind: Port, Default: "45678", max: 65535,
			Help:  "TCP port of the API (0: any free one, null: none)",
			field: func(s *Settings) any { return &s.Daemon.Port },
		},
		{
			Name: "daemon.host", Kind: String, Default: "127.0.0.1", Allowed: "127.0.0.1, ::1 or another loopback address, or localhost",
			Help:  "address on which the API listens",
			field: func(s *Settings) any { return &s.Daemon.Host },
		},
		{
			Name: "daemon.shutdownTimeout", Kind: Duration, Default: "30s", max: day, Live: true,
			Help:  "how long runs may go on after a stop request (0: killed at once)",
			field: func(s *Settings) any { return &s.Daemon.ShutdownTimeout },
		},
		{
			Name: "daemon.restart.initialDelay", Kind: Duration, Default: "1s", max: day, Live: true,
			Help:  "pause before a crashed worker is started again for the first time",
			field: func(s *Settings) any { return &s.Daemon.Restart.InitialDelay },
		},
		{
			Name: "daemon.restart.maxDelay", Kind: Duration, Default: "30s", max: day, Live: true,
			Help:  "longest pause between two starts of a worker",
			field: func(s *Settings) any { return &s.Daemon.Restart.MaxDelay },
		},
		{
			Name: "daemon.restart.multiplier", Kind: Float, Default: "2", min: 1, max: 100, Live: true,
			Help:  "growth of the pause from one crash to the next",
			field: func(s *Settings) any { return &s.Daemon.Restart.Multiplier },
		},
		{
			Name: "daemon.restart.jitter", Kind: Float, Default: "0", max: 1, Live: true,
			Help:  "random part of the pause",
			field: func(s *Settings) any { return &s.Daemon.Restart.Jitter },
		},
		{
			Name: "daemon.restart.resetAfter", Kind: Duration, Default: "1m", max: day, Live: true,
			Help:  "stable time after which the pause starts over",
			field: func(s *Settings) any { return &s.Daemon.Restart.ResetAfter },
		},
		{
			Name: "daemon.restart.maxRestarts", Kind: Int, Default: "0", max: 1e6, Live: true,
			Help:  "restarts within the period after which a worker is given up (0: never)",
			field: func(s *Settings) any { return &s.Daemon.Restart.MaxRestarts },
		},
		{
			Name: "daemon.restart.within", Kind: Duration, Default: "1m", min: second / 10, max: day, Live: true,
			Help:  "the period that daemon.restart.maxRestarts counts in",
			field: func(s *Settings) any { return &s.Daemon.Restart.Within },
		},
		{
			Name: "daemon.worker.command", Kind: Command, Default: "[]", Live: true,
			Help:  "worker program in place of the built-in one",
			field: func(s *Settings) any { return &s.Daemon.Worker.Command },
		},
		{
			Name: "daemon.worker.readyTimeout", Kind: Duration, Default: "10s", min: second / 10, max: hour, Live: true,
			Help:  "how long a worker may take until it is ready",
			field: func(s *Settings) any { return &s.Daemon.Worker.ReadyTimeout },
		},
		{
			Name: "daemon.worker.heartbeatTimeout", Kind: Duration, Default: "0s", zero: true, min: second, max: day, Live: true,
			Help:  "silence after which a worker is replaced (0: no heartbeats)",
			field: func(s *Settings) any { return &s.Daemon.Worker.HeartbeatTimeout },
		},
		{
			Name: "logging.level", Kind: Choice, Default: "info", Choices: []string{"debug", "info", "warn", "error"}, Live: true,
			Help:  "least severe message that is logged",
			field: func(s *Settings) any { return &s.Logging.Level },
		},
		{
			Name: "logging.format", Kind: Choice, Default: "text", Choices: []string{"text", "json"}, Live: true,
			Help:  "form of a line in daemon.log",
			field: func(s *Settings) any { return &s.Logging.Format },
		},
		{
			Name: "logging.maxSize", Kind: Size, Default: "10M", min: 1 << 10, max: 1 << 30, Live: true,
			Help:  "size at which a log file is rotated",
			field: func(s *Settings) any { return &s.Logging.MaxSize },
		},
		{
			Name: "logging.maxFiles", Kind: Int, Default: "30", min: 1, max: 1000, Live: true,
			Help:  "rotated files that are kept of each log",
			field: func(s *Settings) any { return &s.Logging.MaxFiles },
		},
		{
			Name: "logging.maxAge", Kind: Duration, Default: "0s", max: 3650 * day, Live: true,
			Help:  "age at which a rotated file is removed (0: never)",
			field: func(s *Settings) any { return &s.Logging.MaxAge },
		},
		{
			Name: "logging.rotateEvery", Kind: Duration, Default: "0s", zero: true, min: second, max: 3650 * day, Live: true,
			Help:  "age at which a log file is rotated, whatever its size (0: by size only)",
			field: func(s *Settings) any { return &s.Logging.RotateEvery },
		},
		{
			Name: "history.maxRuns", Kind: Int, Default: "10000", min: 1, max: 1e6, Live: true,
			Help:  "ended runs that are remembered, the newest of all projects",
			field: func(s *Settings) any { return &s.History.MaxRuns },
		},
		{
			Name: "history.maxAge", Kind: Duration, Default: "720h", max: 3650 * day, Live: true,
			Help:  "age at which an ended run is forgotten (0: never)",
			field: func(s *Settings) any { return &s.History.MaxAge },
		},
		{
			Name: "defaults.pollingInterval", Kind: Duration, Default: "5m", max: 30 * day, Live: true,
			Help:  "pause between two runs of a project (0: none)",
			field: func(s *Settings) any { return &s.Defaults.PollingInterval },
		},
		{
			Name: "defaults.runTimeout", Kind: Duration, Default: "0s", max: 30 * day, Live: true,
			Help:  "time after which a run is stopped (0: never)",
			field: func(s *Settings) any { return &s.Defaults.RunTimeout },
		},
		{
			Name: "defaults.timeSlice", Kind: Duration, Default: "0s", zero: true, min: second, max: 30 * day, Live: true,
			Help:  "time after which a run makes way for others that wait (0: never)",
			field: func(s *Settings) any { return &s.Defaults.TimeSlice },
		},
		{
			Name: "defaults.command", Kind: Command, Default: "[]", Live: true,
			Allowed: `a list of strings, as in ["poppo", "--project", "{dir}"], or [] for none`,
			Help:    "what a project without a command runs; {dir} and {id} are its directory and id",
			field:   func(s *Settings) any { return &s.Defaults.Command },
		},
		{
			Name: "defaults.retryAttempts", Kind: Int, Default: "3", max: 100, Live: true,
			Help:  "how often a failed run is tried again",
			field: func(s *Settings) any { return &s.Defaults.RetryAttempts },
		},
		{
			Name: "defaults.retryDelay", Kind: Duration, Default: "5s", max: day, Live: true,
			Help:  "pause before a failed run is tried again for the first time",
			field: func(s *Settings) any { return &s.Defaults.RetryDelay },
		},
	}
	for i := range keys {
		if keys[i].Allowed == "" {
			keys[i].Allowed = keys[i].allowed()
		}
	}
	return keys
})

// Lookup finds a key by its full name.
func Lookup(name string) (Key, bool) {
	for _, k := range table() {
		if k.Name == name {
			return k, true
		}
	}
	return Key{}, false
}

// childrenOf returns the names in a section, "" for the top; nil if there is
// no such section.
func childrenOf(section string) []string {
	prefix := section + "."
	if section == "" {
		prefix = ""
	}
	var names []string
	for _, k := range table() {
		if rest, ok := strings.CutPrefix(k.Name, prefix); ok {
			name, _, _ := strings.Cut(rest, ".")
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}
