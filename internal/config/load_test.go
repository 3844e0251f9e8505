package config_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/poppobuilder/poppobuilder/internal/config"
)

func TestDefaults(t *testing.T) {
	t.Parallel()
	port := 45678
	want := config.Settings{
		Daemon: config.Daemon{
			Enabled: true, MaxProcesses: 2, SchedulingStrategy: "round-robin",
			Port: &port, Host: "127.0.0.1", ShutdownTimeout: 30 * time.Second,
			Restart: config.Restart{
				InitialDelay: time.Second, MaxDelay: 30 * time.Second, Multiplier: 2,
				ResetAfter: time.Minute, Within: time.Minute,
			},
			Worker: config.Worker{Command: []string{}, ReadyTimeout: 10 * time.Second},
		},
		Logging:  config.Logging{Level: "info", Format: "text", MaxSize: 10 << 20, MaxFiles: 30},
		History:  config.History{MaxRuns: 10_000, MaxAge: 30 * 24 * time.Hour},
		Defaults: config.Defaults{PollingInterval: 5 * time.Minute, Command: []string{}, RetryAttempts: 3, RetryDelay: 5 * time.Second},
	}
	if diff := cmp.Diff(want, config.Default()); diff != "" {
		t.Errorf("Default (-want +got):\n%s", diff)
	}
	for name, text := range map[string]string{
		"empty":        "",
		"blank":        " \r\n\t",
		"comments":     "// nothing yet",
		"object":       "{}",
		"sections":     `{"daemon": {"restart": {}, "worker": {}}, "logging": {}, "defaults": {}}`,
		"mark":         "\ufeff{}",
		"template":     string(config.Template()),
		"last comment": "{}\n// the end",
		"schema":       `{"$schema": "config.schema.json"}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(want, mustLoad(t, text).Settings); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	t.Run("missing", func(t *testing.T) {
		t.Parallel()
		loaded, err := config.Load(config.Options{File: filepath.Join(t.TempDir(), "none", "config.json"), Environ: []string{}})
		if err != nil {
			t.Fatal(err)
		}
		if got := loaded.Origins["daemon.port"].String(); got != "default" {
			t.Errorf("origin %q, want default", got)
		}
	})
}

// Each key in each source, and each source against the next weaker one.
func TestSources(t *testing.T) {
	t.Parallel()
	values := map[string][3]string{ // in the file, the environment and a flag
		"daemon.enabled":                 {"false", "true", "false"},
		"daemon.maxProcesses":            {"3", "4", "5"},
		"daemon.schedulingStrategy":      {`"fair"`, "priority", "weighted"},
		"daemon.port":                    {"0", "null", "8080"},
		"daemon.host":                    {`"::1"`, "localhost", "127.0.0.2"},
		"daemon.shutdownTimeout":         {"60000", "2m", "3m"},
		"daemon.restart.initialDelay":    {`"2s"`, "3000", "4s"},
		"daemon.restart.maxDelay":        {`"1m"`, "2m", "3m"},
		"daemon.restart.multiplier":      {"3", "1.5", "4"},
		"daemon.restart.jitter":          {"0.25", "0.5", "1"},
		"daemon.restart.resetAfter":      {"1000", "2s", "3s"},
		"daemon.restart.maxRestarts":     {"1", "2", "3"},
		"daemon.restart.within":          {"1000", "2s", "3s"},
		"daemon.worker.command":          {`["node", "worker.js"]`, "worker", `["a b", "c"]`},
		"daemon.worker.readyTimeout":     {"1000", "2s", "3s"},
		"daemon.worker.heartbeatTimeout": {"1000", "2s", "3s"},
		"logging.level":                  {`"debug"`, "warn", "error"},
		"logging.format":                 {`"json"`, "text", "json"},
		"logging.maxSize":                {"2048", "3K", "1GiB"},
		"logging.maxFiles":               {"1", "2", "3"},
		"logging.maxAge":                 {`"30d"`, "1h", "2h"},
		"logging.rotateEvery":            {`"1d"`, "1h", "2h"},
		"history.maxRuns":                {"5", "6", "7"},
		"history.maxAge":                 {`"7d"`, "1h", "2h"},
		"defaults.pollingInterval":       {"0", "1m", "2m"},
		"defaults.runTimeout":            {`"1h30m"`, "2h", "3h"},
		"defaults.timeSlice":             {"1000", "0", "3s"},
		"defaults.command":               {`["agent", "{dir}"]`, "agent", `["a b", "{id}"]`},
		"defaults.retryAttempts":         {"0", "1", "2"},
		"defaults.retryDelay":            {"0", "1s", "2s"},
	}
	if len(values) != len(config.Keys()) {
		t.Errorf("%d keys in the test, %d in the table", len(values), len(config.Keys()))
	}
	for _, k := range config.Keys() {
		t.Run(k.Name, func(t *testing.T) {
			t.Parallel()
			v := values[k.Name]
			path := strings.Split(k.Name, ".")
			text := `{"` + strings.Join(path, `":{"`) + `":` + v[0] + strings.Repeat("}", len(path))
			file := write(t, text)
			value := 1 + strings.LastIndex(text, v[0])
			seen := map[string]bool{}
			for _, test := range []struct {
				o    config.Options
				want config.Origin
			}{
				{config.Options{}, config.Origin{Source: config.FromDefault}},
				{config.Options{File: file}, config.Origin{Source: config.FromFile, Detail: file + ":1:" + itoa(value)}},
				{
					config.Options{File: file, Environ: []string{k.Env() + "=" + v[1]}},
					config.Origin{Source: config.FromEnv, Detail: k.Env()},
				},
				{
					config.Options{File: file, Environ: []string{k.Env() + "=" + v[1]}, Args: []string{"--" + k.Name + "=" + v[2]}},
					config.Origin{Source: config.FromFlag, Detail: "--" + k.Name},
				},
				{ // an empty variable is none
					config.Options{File: file, Environ: []string{k.Env() + "="}},
					config.Origin{Source: config.FromFile, Detail: file + ":1:" + itoa(value)},
				},
			} {
				if test.o.Environ == nil {
					test.o.Environ = []string{}
				}
				got, origin, err := config.Get(test.o, k.Name)
				if err != nil {
					t.Fatal(err)
				}
				if origin != test.want {
					t.Errorf("origin %v, want %v", origin, test.want)
				}
				seen[got+string(origin.Source)] = true
			}
			if len(seen) != 4 {
				t.Errorf("values by source: %v, want 4", seen)
			}
		})
	}
}

func TestProcessEnvironment(t *testing.T) {
	t.Setenv("POPPOBUILDER_DAEMON_MAXPROCESSES", "7")
	got, origin, err := config.Get(config.Options{}, "daemon.maxProcesses")
	if err != nil || got != "7" || origin.Source != config.FromEnv {
		t.Errorf("got %q, %v, %v", got, origin, err)
	}
}

// One line for every mistake, with the words that the user sees. FILE stands
// for the path.
func TestFaults(t *testing.T) {
	t.Parallel()
	const maxProcesses = "(allowed: a whole number from 1 to 10)"
	for _, test := range []struct{ name, text, want string }{
		{"too large", `{"daemon": {"maxProcesses": 99}}`, "FILE:1:29: daemon.maxProcesses: 99 is out of range " + maxProcesses},
		{"huge", `{"daemon": {"maxProcesses": 1e400}}`, "FILE:1:29: daemon.maxProcesses: 1e400 is out of range " + maxProcesses},
		{"half", `{"daemon": {"maxProcesses": 1.5}}`, "FILE:1:29: daemon.maxProcesses: 1.5 is not a whole number " + maxProcesses},
		{"string for int", `{"daemon": {"maxProcesses": "2"}}`, `FILE:1:29: daemon.maxProcesses: is a string ("2") ` + maxProcesses},
		{"null", `{"daemon": {"maxProcesses": null}}`, "FILE:1:29: daemon.maxProcesses: is null " + maxProcesses},
		{"object for int", `{"daemon": {"maxProcesses": {}}}`, "FILE:1:29: daemon.maxProcesses: is an object " + maxProcesses},
		{"number for bool", `{"daemon": {"enabled": 1}}`, "FILE:1:24: daemon.enabled: is a number (1) (allowed: true or false)"},
		{"strategy", `{"daemon": {"schedulingStrategy": "round_robin"}}`, `FILE:1:35: daemon.schedulingStrategy: unknown value "round_robin", did you mean "round-robin"? (allowed: one of round-robin, priority, weighted, fair)`},
		{"port", `{"daemon": {"port": 65536}}`, "FILE:1:21: daemon.port: 65536 is out of range (allowed: a whole number from 0 to 65535, or null)"},
		{"host with port", `{"daemon": {"host": "localhost:80"}}`, `FILE:1:21: daemon.host: "localhost:80" is not on the loopback (allowed: 127.0.0.1, ::1 or another loopback address, or localhost)`},
		{"host of the network", `{"daemon": {"host": "0.0.0.0"}}`, `FILE:1:21: daemon.host: "0.0.0.0" is not on the loopback (allowed: 127.0.0.1, ::1 or another loopback address, or localhost)`},
		{"empty host", `{"daemon": {"host": ""}}`, `FILE:1:21: daemon.host: "" is not on the loopback (allowed: 127.0.0.1, ::1 or another loopback address, or localhost)`},
		{"duration", `{"daemon": {"shutdownTimeout": "soon"}}`, `FILE:1:32: daemon.shutdownTimeout: "soon" is not a duration (allowed: milliseconds or text as "30s", "1h30m", "7d"; from 0s to 24h)`},
		{"negative duration", `{"daemon": {"shutdownTimeout": -1}}`, `FILE:1:32: daemon.shutdownTimeout: -1 is out of range (allowed: milliseconds or text as "30s", "1h30m", "7d"; from 0s to 24h)`},
		{"long duration", `{"daemon": {"shutdownTimeout": "999999999999d"}}`, `FILE:1:32: daemon.shutdownTimeout: 999999999999 is out of range (allowed: milliseconds or text as "30s", "1h30m", "7d"; from 0s to 24h)`},
		{"short duration", `{"daemon": {"shutdownTimeout": "5us"}}`, `FILE:1:32: daemon.shutdownTimeout: 5µs is not a whole number of milliseconds (allowed: milliseconds or text as "30s", "1h30m", "7d"; from 0s to 24h)`},
		{"gap", `{"daemon": {"worker": {"heartbeatTimeout": 10}}}`, `FILE:1:44: daemon.worker.heartbeatTimeout: 10 is out of range (allowed: milliseconds or text as "30s", "1h30m", "7d"; from 0, or 1s to 24h)`},
		{"size", `{"logging": {"maxSize": "10X"}}`, `FILE:1:25: logging.maxSize: "10X" is not a size (allowed: bytes or text as "10M", "512K"; from 1K to 1G)`},
		{"large size", `{"logging": {"maxSize": "2G"}}`, `FILE:1:25: logging.maxSize: 2G is out of range (allowed: bytes or text as "10M", "512K"; from 1K to 1G)`},
		{"command", `{"daemon": {"worker": {"command": "node worker.js"}}}`, `FILE:1:35: daemon.worker.command: is a string ("node worker.js") (allowed: a list of strings, as in ["node", "worker.js"], or [] for the built-in worker)`},
		{"command of numbers", `{"daemon": {"worker": {"command": ["node", 1]}}}`, `FILE:1:35: daemon.worker.command: has an element that is a number (1) (allowed: a list of strings, as in ["node", "worker.js"], or [] for the built-in worker)`},
		{"nameless command", `{"daemon": {"worker": {"command": [""]}}}`, `FILE:1:35: daemon.worker.command: has an empty program name (allowed: a list of strings, as in ["node", "worker.js"], or [] for the built-in worker)`},
		{"jitter", `{"daemon": {"restart": {"jitter": 1.01}}}`, "FILE:1:35: daemon.restart.jitter: 1.01 is out of range (allowed: a number from 0 to 1)"},
		{"delays", `{"daemon": {"restart": {"initialDelay": "1m"}}}`, "FILE:1:41: daemon.restart.initialDelay: daemon.restart.initialDelay (1m) is longer than daemon.restart.maxDelay (30s) (allowed: maxDelay at least as long as initialDelay)"},

		{"unknown", `{"daemon": {"maxProceses": 2}}`, `FILE:1:13: daemon.maxProceses: unknown key, did you mean "daemon.maxProcesses"? (allowed: enabled, maxProcesses, schedulingStrategy, port, host, shutdownTimeout, restart, worker)`},
		{"case", `{"Logging": {}}`, `FILE:1:2: Logging: unknown key, did you mean "logging"? (allowed: daemon, logging, history, defaults)`},
		{"misplaced", `{"maxProcesses": 2}`, `FILE:1:2: maxProcesses: unknown key, did you mean "daemon.maxProcesses"? (allowed: daemon, logging, history, defaults)`},
		{"nothing near", `{"zebra": 2}`, `FILE:1:2: zebra: unknown key (allowed: daemon, logging, history, defaults)`},
		{"dots", `{"daemon.maxProcesses": 2}`, `FILE:1:2: daemon.maxProcesses: a name with a dot (allowed: sections as objects, {"daemon": {"maxProcesses": 2}})`},
		{"section", `{"logging": 3}`, `FILE:1:13: logging: is a number (3) (allowed: an object with level, format, maxSize, maxFiles, maxAge, rotateEvery)`},
		{"null section", `{"logging": null}`, `FILE:1:13: logging: is null (allowed: an object with level, format, maxSize, maxFiles, maxAge, rotateEvery)`},
		{"twice", "{\"logging\": {\"level\": \"info\",\n\"level\": \"info\"}}", `FILE:2:1: logging.level: given twice, first in line 1 (allowed: once)`},
		{"escaped twice", `{"logging": {"level": "info", "\u006cevel": "info"}}`, `FILE:1:31: logging.level: given twice, first in line 1 (allowed: once)`},
		{"list", `[]`, `FILE:1:1: the file holds a list (allowed: one object, {...})`},
		{"after", "{}\n{}", `FILE:2:1: invalid character '{' after top-level value (allowed: JSON with comments)`},
		{"half-written", `{"daemon": {"maxPro`, `FILE:1:20: the file ends in the middle of a value or comment (allowed: JSON with comments)`},
		{"half a comment", `{} /* `, `FILE:1:4: the file ends in the middle of a value or comment (allowed: JSON with comments)`},
		{"zeros after a crash", "\x00\x00\x00", `FILE:1:1: invalid character '\u0000' at start of value (allowed: JSON with comments)`},
		{"single quotes", `{'daemon': {}}`, `FILE:1:2: invalid character '\'' at start of value (allowed: JSON with comments)`},
		{"column in characters", `{"daemon": {/* überall */ "port": -1}}`, `FILE:1:35: daemon.port: -1 is out of range (allowed: a whole number from 0 to 65535, or null)`},
		{"syntax column in characters", `/* überall */ {,}`, `FILE:1:16: invalid character ',' at start of value (allowed: JSON with comments)`},
		{"carriage returns", "{\r\n  \"daemon\": {\r\n    \"port\": -1\r\n  }\r\n}\r\n", `FILE:3:13: daemon.port: -1 is out of range (allowed: a whole number from 0 to 65535, or null)`},
		{"latin-1", "{}\n// \xfcber", `FILE:2:4: is not UTF-8 (allowed: a text file in UTF-8)`},
		{"utf-16", "\xff\xfe{\x00}\x00", `FILE:1:1: is not UTF-8 (allowed: a text file in UTF-8)`},
		{"10 MB", strings.Repeat(" ", 10<<20), `FILE: is too large for a settings file (allowed: 1M)`},
		{"deep", strings.Repeat("[", config.MaxFileSize), `FILE: has too many objects and lists for a settings file`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			file := write(t, test.text)
			_, err := config.Load(config.Options{File: file, Environ: []string{}})
			want := strings.ReplaceAll(test.want, "FILE", file)
			if got := faultsOf(t, err).Error(); got != want {
				t.Errorf("\n got %s\nwant %s", got, want)
			}
		})
	}
}

func TestAllFaultsAtOnce(t *testing.T) {
	t.Parallel()
	file := write(t, `{
  "logging": {"level": "loud", "maxFiles": 0},
  "daemon": {
    "prot": 1,
    "maxProcesses": 11
  }
}`)
	_, err := config.Load(config.Options{
		File:    file,
		Args:    []string{"--daemon.port=x", "--daemon.enabled=perhaps"},
		Environ: []string{"POPPOBUILDER_LOGGING_FORMAT=xml", "POPPOBUILDER_DAEMON_PORT=-1"},
	})
	want := strings.ReplaceAll(`8 faults in the settings:
  FILE:2:24: logging.level: unknown value "loud" (allowed: one of debug, info, warn, error)
  FILE:2:44: logging.maxFiles: 0 is out of range (allowed: a whole number from 1 to 1000)
  FILE:4:5: daemon.prot: unknown key, did you mean "daemon.port"? (allowed: enabled, maxProcesses, schedulingStrategy, port, host, shutdownTimeout, restart, worker)
  FILE:5:21: daemon.maxProcesses: 11 is out of range (allowed: a whole number from 1 to 10)
  POPPOBUILDER_DAEMON_PORT: daemon.port: -1 is out of range (allowed: a whole number from 0 to 65535, or null)
  POPPOBUILDER_LOGGING_FORMAT: logging.format: unknown value "xml" (allowed: one of text, json)
  --daemon.port: daemon.port: "x" is not a number (allowed: a whole number from 0 to 65535, or null)
  --daemon.enabled: daemon.enabled: "perhaps" is neither true nor false (allowed: true or false)`, "FILE", file)
	if got := faultsOf(t, err).Error(); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
}

func TestBadArgs(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ arg, want string }{
		{"--daemon.prot=1", "--daemon.prot: unknown flag, did you mean --daemon.port?"},
		{"--zebra=1", "--zebra: unknown flag"},
		{"daemon.port=1", "daemon.port=1: is not a flag (allowed: --KEY=VALUE)"},
	} {
		_, err := load(t, "{}", test.arg)
		if got := faultsOf(t, err).Error(); got != test.want {
			t.Errorf("%s: got %s, want %s", test.arg, got, test.want)
		}
	}
}

func TestUnreadable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, nil, 0); err != nil {
		t.Fatal(err)
	}
	below := filepath.Join(secret, "config.json")
	for _, test := range []struct {
		file, want string
		skip       bool
	}{
		{dir, "read settings: open " + dir + ": is a directory", false},
		{fifo, "read settings: open " + fifo + ": not a regular file", false}, // and does not wait for a writer
		{secret, "read settings: open " + secret + ": permission denied", os.Geteuid() == 0},
		{below, "read settings: open " + below + ": not a directory", false},
	} {
		if test.skip {
			t.Logf("%s: skipped, root reads everything", test.file)
			continue
		}
		_, err := config.Load(config.Options{File: test.file, Environ: []string{}})
		if _, ok := errors.AsType[*fs.PathError](err); !ok || err.Error() != test.want {
			t.Errorf("got %v, want %s", err, test.want)
		}
	}
	if _, err := config.Validate(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Validate of a missing file: %v", err)
	}
}

// The file that the ancestor writes, and its documentation shows.
const ancestors = `{
  "version": "1.0.0",
  "daemon": {
    "enabled": true,
    "maxProcesses": 2,
    "schedulingStrategy": "round-robin",
    "port": 3003,
    "socketPath": null
  },
  "resources": {"maxMemoryMB": 4096, "maxCpuPercent": 80},
  "defaults": {
    "pollingInterval": 300000,
    "timeout": 600000,
    "retryAttempts": 3,
    "retryDelay": 5000,
    "language": "en"
  },
  "registry": {"maxProjects": 20, "autoDiscovery": false, "discoveryPaths": []},
  "logging": {"level": "info", "directory": "~/.poppobuilder/logs", "maxFiles": 30, "maxSize": "10M"},
  "telemetry": {"enabled": false, "endpoint": null},
  "updates": {"checkForUpdates": true, "autoUpdate": false, "channel": "stable"}
}
`

func TestAncestorsFile(t *testing.T) {
	t.Parallel()
	file := write(t, ancestors)
	ignored, err := config.Validate(file)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, i := range ignored {
		got = append(got, strings.TrimPrefix(i.String(), file))
	}
	want := []string{
		":2:3: version: has no effect here",
		":8:5: daemon.socketPath: has no effect here",
		":10:3: resources: has no effect here",
		":13:5: defaults.timeout: has no effect here",
		":16:5: defaults.language: has no effect here",
		":18:3: registry: has no effect here",
		":19:32: logging.directory: has no effect here",
		":20:3: telemetry: has no effect here",
		":21:3: updates: has no effect here",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ignored (-want +got):\n%s", diff)
	}
}

// The ancestor's documentation shows keys that its own program refused, and its
// program knew strategies that the documentation does not.
func TestAncestorsOtherFiles(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]struct{ strategy, ignored string }{
		"documented.json":           {"round-robin", "version defaults.checkInterval defaults.timeout defaults.language registry logging.directory telemetry updates"},
		"weighted-round-robin.json": {"weighted", "version"},
		"deadline-aware.json":       {"round-robin", "version daemon.schedulingStrategy"},
	} {
		loaded, err := config.Load(config.Options{File: filepath.Join("testdata", "ancestor", file), Environ: []string{}})
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		var ignored []string
		for _, i := range loaded.Ignored {
			ignored = append(ignored, i.Key)
		}
		if got := strings.Join(ignored, " "); got != want.ignored || loaded.Daemon.SchedulingStrategy != want.strategy {
			t.Errorf("%s: %s, ignored %s", file, loaded.Daemon.SchedulingStrategy, got)
		}
	}
}

func TestUnknownVariables(t *testing.T) {
	t.Parallel()
	loaded, err := config.Load(config.Options{Environ: []string{
		"POPPOBUILDER_DAEMON_MAXPROCESES=3", "POPPOBUILDER_LOGGING_COLOUR=blue",
		// Not settings at all, or empty:
		"POPPOBUILDER_HOME=/x", "POPPOBUILDER_DAEMON=true", "POPPOBUILDER_PROJECT_ID=a", "POPPOBUILDER_DAEMON_X=", "PATH=/bin",
	}})
	if err != nil {
		t.Fatal(err)
	}
	want := []config.Ignored{
		{Key: "POPPOBUILDER_DAEMON_MAXPROCESES", Reason: "no setting has this variable, did you mean POPPOBUILDER_DAEMON_MAXPROCESSES?"},
		{Key: "POPPOBUILDER_LOGGING_COLOUR", Reason: "no setting has this variable"},
	}
	if diff := cmp.Diff(want, loaded.Ignored); diff != "" {
		t.Errorf("ignored (-want +got):\n%s", diff)
	}
}
