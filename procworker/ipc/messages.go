package ipc

import "encoding/json"

// Version is the version of the protocol that this package speaks. A worker
// announces it in [Ready].
const Version = 1

// MaxMessage is the longest line, newline included, that either side may
// send: 1 MiB.
const MaxMessage = 1 << 20

// Names of the environment variables that tell a worker which descriptor its
// channel is on. Both are set: the first is ours, the second is the one that
// Node.js turns into process.send and process.on('message').
const (
	EnvFD     = "POPPOBUILDER_IPC_FD"
	EnvNodeFD = "NODE_CHANNEL_FD"
)

// LostLines is the figure of a run that counts the lines of output that its
// log could not take so far.
const LostLines = "lostLines"

// A Body is the typed content of one message. On the wire it is the JSON
// object of its fields plus the key "type".
type Body interface {
	// MessageType returns the value of "type", such as "ready".
	MessageType() string
}

// A Message is one received line: its type, and the whole object.
type Message struct {
	Type string
	Raw  json.RawMessage
}

// Messages to the master.
type (
	// Ready says that the worker accepts work from now on. Nothing is sent
	// to a worker before it.
	Ready struct {
		Protocol int `json:"protocol"` // [Version]
		PID      int `json:"pid"`
	}

	// Error says that something went wrong. Fatal asks to be replaced.
	Error struct {
		Error string `json:"error"`
		Run   string `json:"run,omitempty"`
		Fatal bool   `json:"fatal,omitempty"`
	}

	// Metrics carries the worker's latest performance figures or, with Run,
	// those of a run, such as [LostLines].
	Metrics struct {
		Run     string             `json:"run,omitempty"`
		Metrics map[string]float64 `json:"metrics"`
	}

	// Started says that a run's command is running. Log is where its output
	// begins in [RunSpec.Log], for workers that know.
	Started struct {
		Run string       `json:"run"`
		PID int          `json:"pid"`
		Log *LogPosition `json:"log,omitempty"`
	}

	// Finished says that a run is over and that nothing of it is left.
	// Exactly one of ExitCode and Signal is set when the command had
	// started; neither is when it could not start, and then Error says why.
	Finished struct {
		Run      string `json:"run"`
		ExitCode *int   `json:"exitCode,omitempty"`
		// Signal is the name of the signal that ended the command, such as
		// "SIGKILL".
		Signal string `json:"signal,omitempty"`
		Error  string `json:"error,omitempty"`
		// Reason tells why the worker stopped the command: "timeout", or the
		// reason of the [Cancel], or "shutdown". Empty: it ended by itself.
		Reason      string `json:"reason,omitempty"`
		UserMS      int64  `json:"userMs"`
		SystemMS    int64  `json:"systemMs"`
		MaxRSSBytes int64  `json:"maxRssBytes"`
		// LostLines counts the lines of output that the log could not take.
		LostLines int64 `json:"lostLines,omitempty"`
		// Log is where the output is in [RunSpec.Log], for workers that know.
		Log *LogRange `json:"log,omitempty"`
	}

	// Heartbeat says that the worker is alive. It is sent only by workers
	// that were asked to.
	Heartbeat struct{}
)

// Messages to the worker.
type (
	// Run starts a run.
	Run struct {
		Run RunSpec `json:"run"`
	}

	// Cancel stops a run, which is then reported as [Finished].
	Cancel struct {
		Run    string `json:"run"`
		Reason string `json:"reason"`
	}

	// Reload carries settings that changed: an object of their names, such as
	// "daemon.maxProcesses", and new values, durations in milliseconds and
	// sizes in bytes.
	Reload struct {
		Config json.RawMessage `json:"config"`
	}

	// Shutdown asks the worker to finish or stop what runs within this time,
	// then to exit with code 0.
	Shutdown struct {
		TimeoutMS int64 `json:"timeoutMs"`
	}
)

// A RunSpec describes one run.
type RunSpec struct {
	ID      string   `json:"id"`
	Project string   `json:"project"`
	Dir     string   `json:"dir"`
	Command []string `json:"command"` // the program and its arguments, at least one
	// Env is added to the worker's own environment.
	Env map[string]string `json:"env,omitempty"`
	// TimeoutMS is how long the run may take, in milliseconds. 0: no limit.
	TimeoutMS int64 `json:"timeoutMs"`
	// GraceMS is the time between the polite stop and KILL, in milliseconds.
	GraceMS int64 `json:"graceMs"`
	// Log is the file that takes the command's output. Empty: it is dropped.
	Log string `json:"log"`
	// LogLimits bounds that file. The zero value sets no bound.
	LogLimits LogLimits `json:"logLimits,omitzero"`
	// Leftovers says what happens to processes that outlive the command:
	// "kill" (the default when empty) or "wait".
	Leftovers string `json:"leftovers,omitempty"`
	// Limits bound what the command may use. What is nil has no bound.
	Limits Limits `json:"limits,omitzero"`
}

// Limits bound a run: the first four each of its processes, as setrlimit(2)
// has it, memory (in bytes) and pids all of them together.
type Limits struct {
	NoFile       *int64 `json:"nofile,omitempty"`
	NProc        *int64 `json:"nproc,omitempty"`
	Core         *int64 `json:"core,omitempty"`
	AddressSpace *int64 `json:"addressSpace,omitempty"`
	Memory       *int64 `json:"memory,omitempty"`
	PIDs         *int64 `json:"pids,omitempty"`
	Nice         *int64 `json:"nice,omitempty"`
	Umask        *int64 `json:"umask,omitempty"`
}

// LogLimits bounds a rotated log.
type LogLimits struct {
	MaxSizeBytes int64 `json:"maxSizeBytes,omitempty"` // of one file; 0: no rotation
	MaxFiles     int   `json:"maxFiles,omitempty"`     // rotated files to keep; 0: all
	MaxAgeMS     int64 `json:"maxAgeMs,omitempty"`     // of a rotated file; 0: no limit

	RotateEveryMS int64 `json:"rotateEveryMs,omitempty"` // age of the current file at which it is rotated; 0: no limit
}

// A LogPosition is a place in a rotated log.
type LogPosition struct {
	File   int   `json:"file"`   // the number that the file has or, if it is the current one, will have when it is rotated; from 1
	Offset int64 `json:"offset"` // in bytes, uncompressed
}

// A LogRange is a part of a rotated log.
type LogRange struct {
	From LogPosition `json:"from"`
	To   LogPosition `json:"to"`
}

// MessageType returns "ready".
func (Ready) MessageType() string { return "ready" }

// MessageType returns "error".
func (Error) MessageType() string { return "error" }

// MessageType returns "metrics".
func (Metrics) MessageType() string { return "metrics" }

// MessageType returns "started".
func (Started) MessageType() string { return "started" }

// MessageType returns "finished".
func (Finished) MessageType() string { return "finished" }

// MessageType returns "heartbeat".
func (Heartbeat) MessageType() string { return "heartbeat" }

// MessageType returns "run".
func (Run) MessageType() string { return "run" }

// MessageType returns "cancel".
func (Cancel) MessageType() string { return "cancel" }

// MessageType returns "reload".
func (Reload) MessageType() string { return "reload" }

// MessageType returns "shutdown".
func (Shutdown) MessageType() string { return "shutdown" }
