package config_test

import (
	"encoding/json"
	"errors"
	"flag"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/poppobuilder/poppobuilder/internal/config"
)

func itoa(n int) string { return strconv.Itoa(n) }

func TestKeys(t *testing.T) {
	t.Parallel()
	env := map[string]string{}
	var restart []string
	for _, k := range config.Keys() {
		if k.Help == "" || strings.HasSuffix(k.Help, ".") || k.Allowed == "" {
			t.Errorf("%s: help %q, allowed %q", k.Name, k.Help, k.Allowed)
		}
		if other := env[k.Env()]; other != "" {
			t.Errorf("%s and %s share %s", k.Name, other, k.Env())
		}
		env[k.Env()] = k.Name
		if !k.Live {
			restart = append(restart, k.Name)
		}
		if got, ok := config.Lookup(k.Name); !ok || got.Name != k.Name {
			t.Errorf("Lookup(%q) = %v, %v", k.Name, got.Name, ok)
		}
		// The default is written as Get shows it, and so can be given to Set.
		if text, _, err := config.Get(config.Options{Environ: []string{}}, k.Name); err != nil || text != k.Default {
			t.Errorf("%s: default %q is shown as %q (%v)", k.Name, k.Default, text, err)
		}
	}
	if diff := cmp.Diff([]string{"daemon.enabled", "daemon.port", "daemon.host"}, restart); diff != "" {
		t.Errorf("keys that need a restart (-want +got):\n%s", diff)
	}
}

func TestUnknownKey(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ key, want string }{
		{"daemon.maxProcess", "daemon.maxProcesses"},
		{"DAEMON.PORT", "daemon.port"},
		{"maxProcesses", "daemon.maxProcesses"},
		{"daemon", ""},
		{"", ""},
		{strings.Repeat("daemon.", 10000), ""},
	} {
		_, _, err := config.Get(config.Options{}, test.key)
		unknown, ok := errors.AsType[*config.UnknownKeyError](err)
		if !ok || unknown.Key != test.key || unknown.Suggestion != test.want {
			t.Errorf("Get(%.20q): %v, want suggestion %q", test.key, err, test.want)
		}
		if _, err := config.Set("nowhere", test.key, "1"); !errors.As(err, &unknown) {
			t.Errorf("Set(%.20q): %v", test.key, err)
		}
		if _, err := config.Unset("nowhere", test.key); !errors.As(err, &unknown) {
			t.Errorf("Unset(%.20q): %v", test.key, err)
		}
	}
}

func TestFlags(t *testing.T) {
	t.Parallel()
	fs := flag.NewFlagSet("daemon start", flag.ContinueOnError)
	foreground := fs.Bool("foreground", false, "")
	flags := config.RegisterFlags(fs)
	if args := flags.Args(); args != nil {
		t.Errorf("Args before parsing: %q", args)
	}
	// The last one counts, a wrong one is kept for Load.
	err := fs.Parse([]string{"--daemon.port", "1", "-foreground", "--daemon.enabled", "--daemon.port=x", "--daemon.worker.command", `["a b","--c"]`})
	if err != nil || !*foreground {
		t.Fatal(err, *foreground)
	}
	want := []string{"--daemon.enabled=true", "--daemon.port=x", `--daemon.worker.command=["a b","--c"]`}
	if diff := cmp.Diff(want, flags.Args()); diff != "" {
		t.Errorf("Args (-want +got):\n%s", diff)
	}
	for _, k := range config.Keys() {
		if f := fs.Lookup(k.Name); f == nil || f.DefValue != k.Default || !strings.Contains(f.Usage, k.Help) {
			t.Errorf("flag %s: %+v", k.Name, f)
		}
	}
	var help strings.Builder
	fs.SetOutput(&help)
	fs.PrintDefaults() // calls String on a zero value
	if !strings.Contains(help.String(), "-daemon.maxProcesses") || strings.Contains(help.String(), "panic") {
		t.Errorf("help:\n%s", &help)
	}
}

func TestDiff(t *testing.T) {
	t.Parallel()
	old := config.Default()
	if got := config.Diff(old, config.Default()); got != nil { // other pointers, same values
		t.Errorf("same settings differ in %q", got)
	}
	changed := config.Default()
	changed.Daemon.Port = nil
	changed.Daemon.Worker.Command = []string{"node"}
	changed.Defaults.RetryDelay = time.Minute
	want := []string{"daemon.port", "daemon.worker.command", "defaults.retryDelay"}
	if diff := cmp.Diff(want, config.Diff(old, changed)); diff != "" {
		t.Errorf("Diff (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, config.Diff(changed, old)); diff != "" {
		t.Errorf("Diff, the other way (-want +got):\n%s", diff)
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	entries, err := config.List(config.Options{
		File:    write(t, `{"daemon": {"port": null, "shutdownTimeout": "1m"}}`),
		Environ: []string{"POPPOBUILDER_LOGGING_MAXSIZE=1K"},
	})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, e := range entries {
		e.Origin.Detail = ""
		line, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		got[e.Key] = string(line)
	}
	if len(got) != len(config.Keys()) {
		t.Errorf("%d entries, want %d", len(got), len(config.Keys()))
	}
	for _, want := range []string{
		`{"key":"daemon.port","value":null,"text":"null","origin":{"source":"file"}}`,
		`{"key":"daemon.shutdownTimeout","value":60000,"text":"1m","origin":{"source":"file"}}`,
		`{"key":"logging.maxSize","value":1024,"text":"1K","origin":{"source":"environment"}}`,
		`{"key":"daemon.worker.command","value":[],"text":"[]","origin":{"source":"default"}}`,
	} {
		key := regexp.MustCompile(`"key":"([^"]*)"`).FindStringSubmatch(want)[1]
		if got[key] != want {
			t.Errorf("\n got %s\nwant %s", got[key], want)
		}
	}
}
