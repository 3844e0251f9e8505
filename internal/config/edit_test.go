package config_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/poppobuilder/poppobuilder/internal/config"
)

func TestSet(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, text, key, value, want string }{
		{
			"replace",
			"{\n  // why three\n  \"daemon\": {\"maxProcesses\" : /* was 2 */ 3 /* ! */, }, // end\n}\n", "daemon.maxProcesses", "4",
			"{\n  // why three\n  \"daemon\": {\"maxProcesses\" : /* was 2 */ 4 /* ! */, }, // end\n}\n",
		},
		{"empty file", "", "daemon.port", "null", "{\n  \"daemon\": {\n    \"port\": null\n  }\n}\n"},
		{"comment only", "// mine", "logging.level", "warn", "// mine\n{\n  \"logging\": {\n    \"level\": \"warn\"\n  }\n}\n"},
		{"empty object", "{}", "logging.level", "warn", "{\n  \"logging\": {\n    \"level\": \"warn\"\n  }\n}"},
		{"object with comment", "{ /* c */ }\n", "logging.level", "warn", "{ /* c */\n  \"logging\": {\n    \"level\": \"warn\"\n  }\n }\n"},
		{
			"object with comment lines", "{\n  // a\n  // b\n}\n", "logging.level", "warn",
			"{\n  // a\n  // b\n  \"logging\": {\n    \"level\": \"warn\"\n  }\n}\n",
		},
		{
			"after a member", "{\n\t\"logging\": {\n\t\t\"level\": \"warn\" // quiet\n\t}\n}\n", "logging.maxFiles", "3",
			"{\n\t\"logging\": {\n\t\t\"level\": \"warn\", // quiet\n\t\t\"maxFiles\": 3\n\t}\n}\n",
		},
		{
			"after a trailing comma", "{\n  \"logging\": {\n    \"level\": \"warn\",\n    // more\n  },\n}\n", "logging.maxFiles", "3",
			"{\n  \"logging\": {\n    \"level\": \"warn\",\n    // more\n    \"maxFiles\": 3,\n  },\n}\n",
		},
		{
			"new section", "{\n  \"logging\": {}\n}\n", "daemon.restart.jitter", "0.5",
			"{\n  \"logging\": {},\n  \"daemon\": {\n    \"restart\": {\n      \"jitter\": 0.5\n    }\n  }\n}\n",
		},
		{
			"empty section", "{\n  \"logging\": {}\n}\n", "logging.format", "json",
			"{\n  \"logging\": {\n    \"format\": \"json\"\n  }\n}\n",
		},
		{
			"four blanks", "{\n    \"logging\": {}\n}\n", "logging.format", "json",
			"{\n    \"logging\": {\n        \"format\": \"json\"\n    }\n}\n",
		},
		{
			"one line", `{"daemon":{"port":1}}`, "daemon.worker.command", `["node", "w.js"]`,
			`{"daemon":{"port":1,"worker":{"command":["node","w.js"]}}}`,
		},
		{
			"one line with blanks", `{ "daemon": { "port": 1 } }`, "logging.format", "json",
			`{ "daemon": { "port": 1 }, "logging": {"format": "json"} }`,
		},
		{
			"brace after the member", "{\n  \"logging\": {\"level\": \"warn\"}}", "logging.maxFiles", "3",
			"{\n  \"logging\": {\"level\": \"warn\", \"maxFiles\": 3}}",
		},
		{
			"comment before the brace", "{\"logging\": {\"level\": \"warn\" // quiet\n}}", "logging.maxFiles", "3",
			"{\"logging\": {\"level\": \"warn\", // quiet\n  \"maxFiles\": 3\n}}",
		},
		{
			"carriage returns", "{\r\n  \"logging\": {\r\n    \"level\": \"warn\" // quiet\r\n  }\r\n}\r\n", "logging.maxFiles", "3",
			"{\r\n  \"logging\": {\r\n    \"level\": \"warn\", // quiet\r\n    \"maxFiles\": 3\r\n  }\r\n}\r\n",
		},
		{"byte order mark", "\ufeff{\"daemon\": {\"port\": 1}}", "daemon.port", "2", "\ufeff{\"daemon\": {\"port\": 2}}"},
		{
			"looks like a key", "{\n  // \"daemon\": {\"port\": 9},\n  \"daemon\": {\"port\": 1}\n}", "daemon.port", "2",
			"{\n  // \"daemon\": {\"port\": 9},\n  \"daemon\": {\"port\": 2}\n}",
		},
		{"escaped key", `{"d\u0061emon": {"port": 1}}`, "daemon.port", "2", `{"d\u0061emon": {"port": 2}}`},
		{"own spelling", `{"logging": {"maxAge": 1}}`, "logging.maxAge", "7d", `{"logging": {"maxAge": "7d"}}`},
		{"leading zeros", `{"logging": {"maxAge": 1}}`, "logging.maxAge", "007", `{"logging": {"maxAge": 7}}`},
		{"one program", `{"daemon": {"worker": {"command": []}}}`, "daemon.worker.command", "/w", `{"daemon": {"worker": {"command": ["/w"]}}}`},
		{"repair", `{"daemon": {"port": "x"}}`, "daemon.port", "2", `{"daemon": {"port": 2}}`},
		{"ancestor's", `{"version": "1.0.0", "daemon": {"socketPath": null}}`, "daemon.port", "2", `{"version": "1.0.0", "daemon": {"socketPath": null, "port": 2}}`},
		{"same value, other spelling", `{"daemon": {"shutdownTimeout": 60000}}`, "daemon.shutdownTimeout", "1m", `{"daemon": {"shutdownTimeout": 60000}}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			file := write(t, test.text)
			c, err := config.Set(file, test.key, test.value)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, read(t, file)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if c.Changed != (test.text != test.want) {
				t.Errorf("change %+v", c)
			}
			o := config.Options{File: file, Environ: []string{}}
			if got, _, err := config.Get(o, test.key); err != nil || got != c.New {
				t.Errorf("Get: %q, %v; Set said %q", got, err, c.New)
			}
		})
	}
}

func TestUnset(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, text, key, want string }{
		{
			"own line", "{\n  \"logging\": {\n    // why\n    \"level\": \"warn\",\n    \"maxFiles\": 3\n  }\n}\n", "logging.level",
			"{\n  \"logging\": {\n    // why\n    \"maxFiles\": 3\n  }\n}\n",
		},
		{
			"last", "{\n  \"logging\": {\n    \"level\": \"warn\", // quiet\n    \"maxFiles\": 3\n  }\n}\n", "logging.maxFiles",
			"{\n  \"logging\": {\n    \"level\": \"warn\" // quiet\n  }\n}\n",
		},
		{
			"last with comma", "{\n  \"logging\": {\n    \"level\": \"warn\",\n    \"maxFiles\": 3,\n  },\n}\n", "logging.maxFiles",
			"{\n  \"logging\": {\n    \"level\": \"warn\",\n  },\n}\n",
		},
		{"its comment stays", "{\n  \"daemon\": {\n    \"port\": 1, // mine\n  },\n}\n", "daemon.port", "{\n  \"daemon\": {\n    // mine\n  },\n}\n"},
		{"comment before the comma", `{"daemon": {"port": 1 /* c */ , "host": "::1"}}`, "daemon.port", `{"daemon": {/* c */  "host": "::1"}}`},
		{"one line", `{"daemon": {"port": 1, "host": "::1", "enabled": true}}`, "daemon.host", `{"daemon": {"port": 1, "enabled": true}}`},
		{"one line, last", `{"daemon": {"port": 1, "host": "::1"}}`, "daemon.host", `{"daemon": {"port": 1}}`},
		{"one line, only", `{"daemon": {"port": 1}}`, "daemon.port", `{"daemon": {}}`},
		{"carriage returns", "{\"daemon\": {\r\n  \"port\": 1,\r\n  \"host\": \"::1\"\r\n}}", "daemon.port", "{\"daemon\": {\r\n  \"host\": \"::1\"\r\n}}"},
		{"several lines", "{\"daemon\": {\"worker\": {\n  \"command\": [\n    \"a\"\n  ]\n}}}", "daemon.worker.command", "{\"daemon\": {\"worker\": {\n}}}"},
		{"first of two", `{"daemon": {"port": 1, "port": 2}}`, "daemon.port", `{"daemon": {"port": 2}}`},
		{"absent", `{"daemon": {}}`, "daemon.port", `{"daemon": {}}`},
		{"absent section", `{}`, "daemon.port", `{}`},
		{"empty file", ``, "daemon.port", ``},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			file := write(t, test.text)
			c, err := config.Unset(file, test.key)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, read(t, file)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if c.Changed != (test.text != test.want) {
				t.Errorf("change %+v", c)
			}
		})
	}
}

func TestChange(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "config.json")
	for _, test := range []struct {
		do   func() (config.Change, error)
		want config.Change
	}{
		{
			func() (config.Change, error) { return config.Unset(file, "daemon.port") },
			config.Change{Key: "daemon.port", Old: "45678", New: "45678"},
		},
		{
			func() (config.Change, error) { return config.Set(file, "daemon.port", "none") },
			config.Change{Key: "daemon.port", Old: "45678", New: "null", Changed: true},
		},
		{ // a default that is written down is a change of the file
			func() (config.Change, error) { return config.Set(file, "logging.level", "info") },
			config.Change{Key: "logging.level", Old: "info", New: "info", Live: true, Changed: true},
		},
		{
			func() (config.Change, error) { return config.Set(file, "logging.level", "info") },
			config.Change{Key: "logging.level", Old: "info", New: "info", Live: true},
		},
		{
			func() (config.Change, error) { return config.Unset(file, "daemon.port") },
			config.Change{Key: "daemon.port", Old: "null", New: "45678", Changed: true},
		},
		{
			func() (config.Change, error) {
				if err := os.WriteFile(file, []byte(`{"logging": {"level": "loud"}}`), 0o600); err != nil {
					t.Fatal(err)
				}
				return config.Set(file, "logging.level", "warn")
			},
			config.Change{Key: "logging.level", Old: `"loud"`, New: "warn", Live: true, Changed: true},
		},
	} {
		got, err := test.do()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("change (-want +got):\n%s", diff)
		}
	}
}

// What does not validate is not written, and the file is not touched.
func TestSetRefuses(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, text, key, value, want string }{
		{"value", `{}`, "daemon.port", "x", `daemon.port: "x" is not a number (allowed: a whole number from 0 to 65535, or null)`},
		{"blank in a command", `{}`, "daemon.worker.command", "node w.js", `daemon.worker.command: "node w.js" has a blank: write a command with arguments as a list (allowed: a list of strings, as in ["node", "worker.js"], or [] for the built-in worker)`},
		{"other key", `{"logging": {"level": "loud"}}`, "daemon.port", "1", `FILE:1:23: logging.level: unknown value "loud" (allowed: one of debug, info, warn, error)`},
		{"together", `{}`, "daemon.restart.maxDelay", "1", `FILE:4:19: daemon.restart.maxDelay: daemon.restart.initialDelay (1s) is longer than daemon.restart.maxDelay (1ms) (allowed: maxDelay at least as long as initialDelay)`},
		{"section", `{"daemon": 3}`, "daemon.port", "1", `FILE:1:12: daemon: is a number (3) (allowed: an object with enabled, maxProcesses, schedulingStrategy, port, host, shutdownTimeout, restart, worker)`},
		{"twice", `{"daemon": {"port": 1, "port": 2}}`, "daemon.port", "1", `FILE:1:24: daemon.port: given twice, first in line 1 (allowed: once)`},
		{"half-written", `{"daemon": `, "daemon.port", "1", `FILE:1:12: the file ends in the middle of a value or comment (allowed: JSON with comments)`},
		{"list", `[]`, "daemon.port", "1", `FILE:1:1: the file holds a list (allowed: one object, {...})`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			file := write(t, test.text)
			_, err := config.Set(file, test.key, test.value)
			want := strings.ReplaceAll(test.want, "FILE", file)
			if got := faultsOf(t, err).Error(); got != want {
				t.Errorf("\n got %s\nwant %s", got, want)
			}
			if got := read(t, file); got != test.text {
				t.Errorf("file now %q", got)
			}
		})
	}
}

func TestSetMakesWhatIsMissing(t *testing.T) {
	t.Parallel()
	home := filepath.Join(t.TempDir(), "a", "home")
	file := filepath.Join(home, "config.json")
	if _, err := config.Unset(file, "daemon.port"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(home); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Unset made the home: %v", err)
	}
	if _, err := config.Set(file, "daemon.port", "1"); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]fs.FileMode{filepath.Dir(home): 0o700, home: 0o700, file: 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v; want mode %v", path, info.Mode(), err, want)
		}
	}
}

// A change keeps the mode, leaves no temporary file, and goes through a
// symbolic link to the file that the user keeps elsewhere.
func TestSetKeepsLinkAndMode(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	target, link := filepath.Join(dir, "dotfiles", "poppo.json"), filepath.Join(dir, "config.json")
	if err := os.Symlink("middle", link); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, filepath.Join(dir, "middle")); err != nil {
		t.Fatal(err)
	}
	set := func(value string) {
		t.Helper()
		if _, err := config.Set(link, "daemon.port", value); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
			t.Errorf("the link: %v, %v", info.Mode(), err)
		}
	}
	set("1") // the link leads nowhere yet
	if err := os.Chmod(target, 0o644); err != nil {
		t.Fatal(err)
	}
	set("2")
	if info, err := os.Stat(target); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if got := read(t, target); !strings.Contains(got, `"port": 2`) {
		t.Errorf("target: %s", got)
	}
	entries, err := os.ReadDir(filepath.Dir(target))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if diff := cmp.Diff([]string{".poppo.json.lock", "poppo.json"}, names); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if err := os.Remove(target); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(link, target); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Set(link, "daemon.port", "3"); !errors.Is(err, syscall.ELOOP) {
		t.Errorf("a circle of links: %v", err)
	}
}

func TestSetAfterCrash(t *testing.T) {
	t.Parallel()
	file := write(t, "{}")
	tmp := filepath.Join(filepath.Dir(file), ".config.json.tmp")
	if err := os.WriteFile(tmp, []byte(`{"half`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Set(file, "daemon.port", "1"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(tmp); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the temporary file: %v", err)
	}
}

// A no-op does not replace the file: an editor would ask its user whether to
// load it again.
func TestSetNothing(t *testing.T) {
	t.Parallel()
	file := write(t, `{"daemon": {"port": 1}}`)
	before, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, do := range []func() (config.Change, error){
		func() (config.Change, error) { return config.Set(file, "daemon.port", "1") },
		func() (config.Change, error) { return config.Unset(file, "daemon.host") },
	} {
		if _, err := do(); err != nil {
			t.Fatal(err)
		}
	}
	after, err := os.Stat(file)
	if err != nil || !os.SameFile(before, after) {
		t.Errorf("the file was replaced (%v)", err)
	}
}

func TestSetDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	want := "change settings: open " + dir + ": is a directory"
	if _, err := config.Set(dir, "daemon.port", "1"); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// Two at once lose nothing: each of many sets its own key.
func TestSetConcurrently(t *testing.T) {
	t.Parallel()
	values := map[string]string{
		"daemon.maxProcesses": "3", "daemon.port": "1", "daemon.host": "localhost", "daemon.restart.jitter": "0.5",
		"daemon.restart.within": "2m", "logging.level": "warn", "logging.maxFiles": "3", "defaults.retryDelay": "1m",
	}
	check := func(t *testing.T, file string) {
		t.Helper()
		for key, want := range values {
			got, _, err := config.Get(config.Options{File: file, Environ: []string{}}, key)
			if err != nil || got != want {
				t.Errorf("%s is %q, want %q (%v)", key, got, want, err)
			}
		}
	}
	t.Run("goroutines", func(t *testing.T) {
		t.Parallel()
		file := filepath.Join(t.TempDir(), "config.json")
		var wg sync.WaitGroup
		for key, value := range values {
			wg.Go(func() {
				if _, err := config.Set(file, key, value); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		check(t, file)
	})
	t.Run("processes", func(t *testing.T) {
		t.Parallel()
		file := filepath.Join(t.TempDir(), "config.json")
		var running []*exec.Cmd
		for key, value := range values {
			cmd := setter(file, key, value)
			cmd.Stderr = os.Stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			running = append(running, cmd)
		}
		for _, cmd := range running {
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
		}
		check(t, file)
	})
}
