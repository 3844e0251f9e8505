package worker_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/poppobuilder/poppobuilder/internal/logs"
	"github.com/poppobuilder/poppobuilder/procworker/ipc"
)

func TestRunReportsTheExit(t *testing.T) {
	t.Parallel()
	m := startWorker(t, "worker")
	tests := []struct{ role, want string }{
		{"say 0", "code 0"},
		{"say 42", "code 42"},
		{"raise SIGKILL", "SIGKILL"},
		{"raise SIGTERM", "SIGTERM"},
		{"raise SIGINT", "SIGINT"},
		{"raise SIGHUP", "SIGHUP"},
	}
	for _, tt := range tests { // one after the other, by the same worker
		spec := newRun(t, tt.role)
		f, _ := m.do(spec)
		check(t, f, tt.want)
	}
}

func TestOutputIsInTheLogBeforeFinished(t *testing.T) {
	t.Parallel()
	m := startWorker(t, "worker")
	for range 5 {
		spec := newRun(t, "say 0")
		_, log := m.do(spec)
		if want := "stdout\nstderr\nno newline\n"; log != want {
			t.Errorf("log: got %q, want %q", log, want)
		}
	}
}

// The worker tells what of the log is from a run, so that nobody has to search.
func TestWhereTheOutputIs(t *testing.T) {
	t.Parallel()
	m := startWorker(t, "worker")
	spec := newRun(t, "lines 20")
	spec.LogLimits = ipc.LogLimits{MaxSizeBytes: 150} // 11 lines of 13 bytes
	first, _ := m.do(spec)
	missing := spec
	missing.Command = []string{"no-such-command"}
	m.send(ipc.Run{Run: missing})
	second := receive[ipc.Finished](m)
	m.send(ipc.Run{Run: spec})
	started := receive[ipc.Started](m)
	third := m.finished(spec)
	for _, tt := range []struct {
		name string
		f    ipc.Finished
		want string
	}{
		{"first", first, numberedLines(20)},
		{"cannot start", second, "poppobuilder: " + second.Error + "\n"},
		{"third", third, numberedLines(20)},
	} {
		if tt.f.Log == nil {
			t.Fatalf("%s: the worker does not say where the output is", tt.name)
		}
		var got strings.Builder
		to := logs.Position(tt.f.Log.To)
		if _, err := logs.Copy(&got, spec.Log, logs.Position(tt.f.Log.From), &to); err != nil || got.String() != tt.want {
			t.Errorf("%s, at %+v: got %q, %v; want %q", tt.name, *tt.f.Log, got.String(), err, tt.want)
		}
	}
	if started.Log == nil || *started.Log != third.Log.From || *started.Log != second.Log.To {
		t.Errorf("started at %+v, want where the run before ended: %+v", started.Log, second.Log.To)
	}
	if first.Log.To.File != 2 {
		t.Errorf("first: got %+v, want an end in file 2", first.Log)
	}
}

func numberedLines(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "line %07d\n", i)
	}
	return b.String()
}

func TestLargeOutputIsRotated(t *testing.T) {
	t.Parallel()
	m := startWorker(t, "worker")
	spec := newRun(t, "lines 20000")
	spec.LogLimits = ipc.LogLimits{MaxSizeBytes: 64 << 10, MaxFiles: 2}
	_, log := m.do(spec)
	if !strings.HasSuffix(log, "line 0019999\n") {
		t.Errorf("log ends with %q", log[max(0, len(log)-30):])
	}
	if rotated, _ := filepath.Glob(spec.Log + ".*"); len(rotated) != 2 {
		t.Errorf("rotated files: got %q, want 2", rotated)
	}
}

func TestOutputWithoutALogIsDropped(t *testing.T) {
	t.Parallel()
	m := startWorker(t, "worker")
	spec := newRun(t, "lines 20000")
	spec.Log = ""
	m.send(ipc.Run{Run: spec})
	receive[ipc.Started](m)
	check(t, m.finished(spec), "code 0")
}

// A log that cannot be written never fails the run, and is not silent either.
func TestLostOutputIsReported(t *testing.T) {
	t.Parallel()
	m := startWorker(t, "worker")
	spec := newRun(t, "lines 1000")
	spec.Log = "/dev/null/run.log"
	m.send(ipc.Run{Run: spec})
	receive[ipc.Started](m)
	if got, want := receive[ipc.Error](m), "1000 lines (13000 bytes) of the output are lost: "; got.Run != spec.ID || !strings.HasPrefix(got.Error, want) {
		t.Errorf("error: got %+v, want %q", got, want)
	}
	check(t, m.finished(spec), "code 0")
}

func TestDescriptorsOfACommand(t *testing.T) {
	t.Parallel()
	m := startWorker(t, "worker")
	_, log := m.do(newRun(t, "descriptors"))
	if want := "input \"\" <nil>\nnon-blocking false <nil>\n"; log != want {
		t.Errorf("got %q, want %q", log, want)
	}
}

func TestEnvironmentOfACommand(t *testing.T) {
	t.Parallel()
	m := startWorker(t, "worker")
	spec := newRun(t, "environ")
	spec.Env["OWN"] = "a b=c"
	spec.Env["HOME"] = "/elsewhere"
	_, log := m.do(spec)
	counts := make(map[string]int)
	for entry := range strings.Lines(log) {
		name, _, _ := strings.Cut(entry, "=")
		counts[name]++
		counts[strings.TrimSuffix(entry, "\n")]++
	}
	for _, want := range []string{
		"OWN=a b=c", "HOME=/elsewhere", "HOME", "INHERITED=yes", "POPPOBUILDER_WORKER_ID=7", "PWD=" + spec.Dir, "PWD",
	} {
		if counts[want] != 1 {
			t.Errorf("%s: got it %d times, want once", want, counts[want])
		}
	}
	for _, name := range []string{ipc.EnvFD, ipc.EnvNodeFD, "NOTIFY_SOCKET", "WATCHDOG_USEC", "LISTEN_FDS"} {
		if counts[name] != 0 {
			t.Errorf("%s reached the command", name)
		}
	}
}

func TestCommandIsLookedUpInTheRunsOwnPath(t *testing.T) {
	t.Parallel()
	m := startWorker(t, "worker")
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "bin", "hello"), "#!/bin/sh\necho \"$0\"\n", 0o755)
	tests := []struct{ name, path, command, want string }{
		{"absolute", "", filepath.Join(dir, "bin/hello"), filepath.Join(dir, "bin/hello")},
		{"relative to the directory", "", "bin/hello", filepath.Join(dir, "bin/hello")},
		{"in PATH", "/nowhere:" + dir + "/bin", "hello", dir + "/bin/hello"},
		{"in a relative PATH", "bin", "hello", dir + "/bin/hello"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			spec := newRun(t, "")
			spec.Dir, spec.Command, spec.Env["PATH"] = dir, []string{tt.command}, tt.path
			f, log := m.do(spec)
			check(t, f, "code 0")
			if log != tt.want+"\n" {
				t.Errorf("got %q, want %q", log, tt.want)
			}
		})
	}
}

func writeFile(t *testing.T, path, content string, mode os.FileMode) {
	t.Helper()
	err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(content), mode))
	if err != nil {
		t.Fatal(err)
	}
}

func TestCommandThatCannotStart(t *testing.T) {
	t.Parallel()
	m := startWorker(t, "worker")
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "plain"), "echo hello\n", 0o644)
	writeFile(t, filepath.Join(dir, "binary"), "\x01\x02\x03\n", 0o755)
	writeFile(t, filepath.Join(dir, "script"), "#!/no/such/interpreter\n", 0o755)
	tests := []struct {
		name    string
		dir     string
		command []string
		want    string
	}{
		{"not in PATH", dir, []string{"no-such-command"}, `command "no-such-command" not found in PATH (/usr/bin:` + dir + `); install it, or give its full path`},
		{"missing", dir, []string{"./missing"}, `command "./missing" does not exist; correct the project's command`},
		{"missing, absolute", dir, []string{"/no/such/command"}, `command "/no/such/command" does not exist; correct the project's command`},
		{"not executable", dir, []string{"./plain"}, `command "./plain" is not executable; run "chmod +x" on it`},
		{"not executable, in PATH", dir, []string{"plain"}, `command "` + dir + `/plain" is not executable; run "chmod +x" on it`},
		{"a directory", dir, []string{"/usr"}, `command "/usr" is a directory; correct the project's command`},
		{"no program", dir, []string{"./binary"}, `command "./binary" is no program for this system; a script needs a first line such as "#!/bin/sh"`},
		{"no interpreter", dir, []string{"./script"}, `command "./script" cannot start: the interpreter that it names, in its first line for a script, does not exist; install it`},
		{"no command", dir, nil, `the project has no command; set one with "poppobuilder project set ID -- COMMAND..."`},
		{"NUL", dir, []string{"/bin/echo", "a\x00b"}, `command "/bin/echo" cannot start: an argument or variable holds a NUL byte; remove it`},
		{"no directory", dir + "/gone", []string{"true"}, `directory "` + dir + `/gone" does not exist; create it, or add the project again where it is now`},
		{"directory is a file", dir + "/plain", []string{"true"}, `"` + dir + `/plain" is not a directory; add the project again with its directory`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			spec := newRun(t, "")
			spec.Dir, spec.Command, spec.Env["PATH"] = tt.dir, tt.command, "/usr/bin:"+dir
			m.send(ipc.Run{Run: spec})
			check(t, m.finished(spec), "not started: "+tt.want)
			if got, want := readLog(t, spec), "poppobuilder: "+tt.want+"\n"; got != want {
				t.Errorf("log: got %q, want %q", got, want)
			}
		})
	}
	f, _ := m.do(newRun(t, "say 0"))
	check(t, f, "code 0")
}

func TestUsage(t *testing.T) {
	t.Parallel()
	m := startWorker(t, "worker")
	tests := []struct{ name, role string }{
		{"of the command", "burn"},
		{"of an orphan", "leave setsid burn"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			spec := newRun(t, tt.role)
			spec.Leftovers = "wait"
			f, _ := m.do(spec)
			if f.UserMS+f.SystemMS < 60 || f.MaxRSSBytes < 1<<20 {
				t.Errorf("got %+v, want at least 60 ms and 1 MiB", f)
			}
		})
	}
}
