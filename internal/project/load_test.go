package project_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/poppobuilder/poppobuilder/internal/calendar"
	"github.com/poppobuilder/poppobuilder/internal/project"
)

func TestLoadAncestorsFile(t *testing.T) {
	t.Parallel()
	s := storeOf(t, `{
  "version": "1.0.0",
  "projects": {
    "poppo-web": {
      "path": "/home/me/web",
      "enabled": true,
      "createdAt": "2025-06-20T01:02:03.456Z",
      "updatedAt": "2025-06-21T01:02:03.456Z",
      "config": {
        "name": "Web",
        "description": "the shop",
        "github": {"owner": "me", "repo": "web"},
        "priority": 80,
        "weight": 2.5,
        "schedule": {"checkInterval": 30000, "activeHours": {"start": "09:00", "end": "18:00", "timezone": "Asia/Tokyo"}},
        "resources": {"maxConcurrent": 2, "cpuQuota": null}
      },
      "stats": {"totalIssuesProcessed": 12, "lastActivityAt": null}
    },
    "bare": {"path": "/home/me/bare", "enabled": false, "config": null}
  },
  "metadata": {"lastModified": "2025-06-21T01:02:03.456Z"}
}`)
	web := project.Project{
		ID:        "poppo-web",
		Path:      "/home/me/web",
		Enabled:   true,
		CreatedAt: time.Date(2025, 6, 20, 1, 2, 3, 456e6, time.UTC),
		Config: project.Config{
			Name:          "Web",
			Priority:      80,
			Weight:        2.5,
			CheckInterval: ptr(30 * time.Second),
			ActiveHours:   &project.ActiveHours{Start: "09:00", End: "18:00", Timezone: "Asia/Tokyo"},
			GitHub:        project.GitHub{Owner: "me", Repo: "web"},
		},
	}
	bare := project.Project{ID: "bare", Path: "/home/me/bare", Config: project.DefaultConfig()}

	got := mustLoad(t, s).Projects()
	if diff := cmp.Diff([]project.Project{bare, web}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	err := got[1].Runnable(nil)
	if want := `project "poppo-web" has no command: set one with "poppobuilder project set poppo-web -- COMMAND...", or one for all with "poppobuilder global-config set defaults.command"`; err == nil || err.Error() != want {
		t.Errorf("Runnable: %v, want %s", err, want)
	}
}

func TestLoadOurKeys(t *testing.T) {
	t.Parallel()
	s := storeOf(t, "\uFEFF"+`{
	// comments, trailing commas and a byte order mark are welcome
	"projects": {"a": {"path": "/a", "config": {
		"schedule": {"checkInterval": "1m30s"},
		"command": ["make", ""], "env": {"A": "", "b.c": "x=y"},
		"runTimeout": 1.5, "retryAttempts": 0, "retryDelay": "0", "leftovers": "wait", "onInterrupt": "fail",
		"limits": {"nofile": 100, "core": 0, "memory": "512M", "nice": -5, "umask": "027", "mine": 1},
		"priority": 1e1, "weight": null, "timeSlice": "5m", "paused": true,
	}}, "b": {"path": "/b", "config": {
		"schedule": {"cron": "30 3 * * 1-5", "timezone": "Europe/Berlin", "jitter": "10m", "activeHours": {"start": "22:00", "end": "24:00"}},
	}}},
}`)
	want := project.Project{ID: "a", Path: "/a", Enabled: true, Config: project.Config{
		Priority:      10,
		Weight:        1,
		CheckInterval: ptr(90 * time.Second),
		Command:       []string{"make", ""},
		Env:           map[string]string{"A": "", "b.c": "x=y"},
		RunTimeout:    ptr(1500 * time.Microsecond),
		RetryAttempts: ptr(0),
		RetryDelay:    ptr(time.Duration(0)),
		Leftovers:     project.LeftoversWait,
		OnInterrupt:   project.InterruptFail,
		TimeSlice:     ptr(5 * time.Minute),
		Paused:        true,
		Limits: project.Limits{
			NoFile: ptr(int64(100)), Core: ptr(int64(0)), Memory: ptr(int64(512 << 20)),
			Nice: ptr(int64(-5)), Umask: ptr(int64(0o27)),
		},
	}}
	b := project.Project{ID: "b", Path: "/b", Enabled: true, Config: project.Config{
		Priority:    50,
		Weight:      1,
		Cron:        "30 3 * * 1-5",
		Timezone:    "Europe/Berlin",
		Jitter:      ptr(10 * time.Minute),
		ActiveHours: &project.ActiveHours{Start: "22:00", End: "24:00"},
	}}
	registry := mustLoad(t, s)
	if got, err := registry.Get("b"); !cmp.Equal(b, got) {
		t.Errorf("%v, (-want +got):\n%s", err, cmp.Diff(b, got))
	}
	got, err := registry.Get("a")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := got.Runnable(nil); err != nil {
		t.Error(err)
	}
}

func TestLoadNothing(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]project.Store{
		"no directory": {Path: t.TempDir() + "/not/there/projects.json"},
		"{}":           storeOf(t, "{}"),
		"null":         storeOf(t, `{"projects": null}`),
	} {
		if r, err := s.Load(); err != nil || r.Len() != 0 {
			t.Errorf("%s: %v, %v", name, r, err)
		}
	}
}

// Each text holds one fault in the config of project "a", at the |.
func TestLoadFault(t *testing.T) {
	t.Parallel()
	const durations = `milliseconds, such as 30000, or a string such as "30s"`
	for _, test := range []struct{ text, key, problem, allowed string }{
		{`"priority": |101`, "priority", "101 is out of range", "0..100"},
		{`"priority": |-1`, "priority", "-1 is out of range", "0..100"},
		{`"priority": |"50"`, "priority", `"50" does not fit`, "a whole number"},
		{`"priority": |1.5`, "priority", "1.5 does not fit", "a whole number"},
		{`"priority": |1e99`, "priority", "1e99 does not fit", "a whole number"},
		{`"weight": |0.09`, "weight", "0.09 is out of range", "0.1..10"},
		{`"weight": |10.01`, "weight", "10.01 is out of range", "0.1..10"},
		{`"weight": |0`, "weight", "0 is out of range", "0.1..10"},
		{`"weight": |true`, "weight", "true does not fit", "a number, 0.1..10"},
		{`"name": |7`, "name", "7 does not fit", "a string"},
		{`"name": |"a\nb"`, "name", `"a\nb" is not a line of text`, "UTF-8 without control characters"},
		{`"schedule": |[]`, "schedule", "an array does not fit", "an object"},
		{`"schedule": {"checkInterval": |-1}`, "schedule.checkInterval", "-1ms is negative", "0 or more"},
		{`"schedule": {"checkInterval": |"soon"}`, "schedule.checkInterval", `"soon" is not a duration`, durations},
		{`"runTimeout": |"-2s"`, "runTimeout", "-2s is negative", "0 or more"},
		{`"runTimeout": |true`, "runTimeout", "true does not fit", durations},
		{`"runTimeout": |1e300`, "runTimeout", "is too long", durations},
		{`"schedule": {"cron": |""}`, "schedule.cron", "is empty", calendar.CronAllowed},
		{`"schedule": {"cron": |"* * * *"}`, "schedule.cron", "expected exactly 5 fields, found 4: [* * * *]", calendar.CronAllowed},
		{`"schedule": {"cron": |"0 0 31 2 *"}`, "schedule.cron", `"0 0 31 2 *" never comes`, calendar.CronAllowed},
		{`"schedule": {"cron": |"@every 5m"}`, "schedule.cron", "is an interval: give it as schedule.checkInterval", calendar.CronAllowed},
		{`"schedule": {"cron": |"TZ=UTC @daily"}`, "schedule.cron", "has a zone: name it in schedule.timezone", calendar.CronAllowed},
		{`"schedule": {"cron": |"@daily", "checkInterval": 0}`, "schedule.cron", "stands beside checkInterval", "one of the two"},
		{`"schedule": {"cron": |5}`, "schedule.cron", "5 does not fit", "a string"},
		{`"schedule": {"timezone": |"Mars"}`, "schedule.timezone", `"Mars" is no time zone`, `a name such as "Europe/Berlin" or "UTC"`},
		{`"schedule": {"activeHours": {"start": |"25:00"}}`, "schedule.activeHours.start", `"25:00" is no time of the day`, calendar.ClockAllowed},
		{`"schedule": {"activeHours": {"end": |"6"}}`, "schedule.activeHours.end", `"6" is no time of the day`, calendar.ClockAllowed},
		{`"schedule": {"activeHours": {"timezone": |"Mars"}}`, "schedule.activeHours.timezone", `"Mars" is no time zone`, `a name such as "Europe/Berlin" or "UTC"`},
		{`"schedule": {"activeHours": |"9-17"}`, "schedule.activeHours", `"9-17" does not fit`, "an object"},
		{`"schedule": {"jitter": |-1}`, "schedule.jitter", "-1ms is out of range", "0 to 24h0m0s"},
		{`"schedule": {"jitter": |"25h"}`, "schedule.jitter", "25h0m0s is out of range", "0 to 24h0m0s"},
		{`"timeSlice": |1`, "timeSlice", "1ms is out of range", "0, or 1s or more"},
		{`"timeSlice": |-1000`, "timeSlice", "-1s is out of range", "0, or 1s or more"},
		{`"paused": |1`, "paused", "1 does not fit", "true, false"},
		{`"retryDelay": |-5`, "retryDelay", "-5ms is negative", "0 or more"},
		{`"retryAttempts": |101`, "retryAttempts", "101 is out of range", "0..100"},
		{`"retryAttempts": |-1`, "retryAttempts", "-1 is out of range", "0..100"},
		{`"leftovers": |"keep"`, "leftovers", `"keep" is unknown`, "kill, wait"},
		{`"onInterrupt": |"no"`, "onInterrupt", `"no" is unknown`, "retry, fail"},
		{`"limits": |7`, "limits", "7 does not fit", "an object"},
		{`"limits": {"nofile": |0}`, "limits.nofile", "0 is out of range", "1 or more"},
		{`"limits": {"nproc": |1.5}`, "limits.nproc", "1.5 does not fit", "1 or more"},
		{`"limits": {"nproc": |"5"}`, "limits.nproc", `"5" does not fit`, "1 or more"},
		{`"limits": {"memory": |"5X"}`, "limits.memory", `"5X" does not fit`, `bytes, or text such as "512M"`},
		{`"limits": {"memory": |-1}`, "limits.memory", "-1 is out of range", `bytes, or text such as "512M"`},
		{`"limits": {"nice": |20}`, "limits.nice", "20 is out of range", "-20..19"},
		{`"limits": {"umask": |27}`, "limits.umask", "27 does not fit", `octal text, "0".."777"`},
		{`"limits": {"umask": |"1000"}`, "limits.umask", "1000 is out of range", `octal text, "0".."777"`},
		{`"command": |"make test"`, "command", `"make test" does not fit`, `an array of strings, such as ["make", "test"]`},
		{`"command": |[]`, "command", "names no program", "[program, argument...]"},
		{`"command": |["", "x"]`, "command", "names no program", "[program, argument...]"},
		{`"command": ["make", |1]`, "command[1]", "1 does not fit", "a string"},
		{`"command": |["a\u0000"]`, "command", "element 1 is not UTF-8 text without NUL characters", ""},
		{`"env": {"A": |1}`, "env.A", "1 does not fit", "a string"},
		{`"env": {"POPPOBUILDER_KEEPER": |"x"}`, "env.POPPOBUILDER_KEEPER", "marks what the daemon has started, so that it can be ended", "any other name"},
		{`"env": {"POPPOBUILDER_SPAWN": |""}`, "env.POPPOBUILDER_SPAWN", "marks what the daemon has started, so that it can be ended", "any other name"},
		{`"env": {"A=B": |"1"}`, "env.A=B", `"A=B" cannot be the name of an environment variable`, `a name that is not empty and has no "="`},
		{`"env": {"a.b": |"\u0000"}`, "env.a.b", "is not UTF-8 text without NUL characters", ""},
		{`"github": {"owner": |{}}`, "github.owner", "an object does not fit", "a string"},
		{`"priority": 1, |"priority": 2`, "priority", "is there twice", "each key once"},
		{`"unknown": {"x": 1, |"x": 1}`, "unknown.x", "is there twice", "each key once"},
	} {
		before, after, _ := strings.Cut(test.text, "|")
		s := storeOf(t, "{\"projects\": {\"a\": {\"path\": \"/a\", \"config\": {\n"+before+after+"\n}}}}")
		_, err := s.Load()
		want := project.Faults{{
			File: s.Path, Line: 2, Column: len(before) + 1,
			Key: "projects.a.config." + test.key, Problem: test.problem, Allowed: test.allowed,
		}}
		if diff := cmp.Diff(error(want), err); diff != "" {
			t.Errorf("%s: (-want +got):\n%s", test.text, diff)
		}
	}
}

func TestLoadFaultsOutsideConfig(t *testing.T) {
	t.Parallel()
	const ids = `1 to 200 letters, digits, ".", "_" and "-", beginning with a letter, a digit or "_"`
	for _, test := range []struct{ text, want string }{
		{"", "F: is empty (allowed: at least {})"},
		{" \n", "F: is empty (allowed: at least {})"},
		{"{\n  \"projects\": {]}", "F:2:16: invalid character ']' at start of value"},
		{`{"projects": {"a": {"path": "/プロジェクト", "enabled": 1}}}`, "F:1:51: projects.a.enabled: 1 does not fit (allowed: true, false)"},
		{`{"プロジェクト": x}`, "F:1:12: invalid literal: x"},
		{"{\n\"projects\": {\"a\": {\"path\": \"/é\xff\"}}}", "F:2:31: is not UTF-8 (allowed: text in UTF-8)"},
		{`{"projects": {}} x`, "F:1:18: invalid character 'x' after top-level value"},
		{`{"projects": {"a": {"path": "/a`, "F:1:32: parsing string: unexpected EOF"},
		{strings.Repeat("[", 100_000), "F: is nested too deeply"},
		{`[]`, "F:1:1: an array does not fit (allowed: an object)"},
		{`{"projects": []}`, "F:1:14: projects: an array does not fit (allowed: an object)"},
		{`{"projects": {}, "projects": {}}`, "F:1:18: projects: is there twice (allowed: each key once)"},
		{`{"projects": {"a": 1}}`, "F:1:20: projects.a: 1 does not fit (allowed: an object)"},
		{`{"projects": {"a": {}}}`, "F:1:20: projects.a.path: is missing (allowed: an absolute path)"},
		{`{"projects": {"a": {"path": null}}}`, "F:1:29: projects.a.path: is missing (allowed: an absolute path)"},
		{`{"projects": {"a": {"path": 1}}}`, "F:1:29: projects.a.path: 1 does not fit (allowed: a string)"},
		{`{"projects": {"a": {"path": "x/y"}}}`, `F:1:29: projects.a.path: "x/y" is not absolute (allowed: an absolute path)`},
		{`{"projects": {"a": {"path": "/a", "enabled": 1}}}`, "F:1:46: projects.a.enabled: 1 does not fit (allowed: true, false)"},
		{`{"projects": {"a": {"path": "/a", "createdAt": "now"}}}`, `F:1:48: projects.a.createdAt: "now" is not a time (allowed: such as "2006-01-02T15:04:05Z")`},
		{`{"projects": {".a": {"path": "/a"}}}`, `F:1:21: projects..a: ".a" cannot be a project's id (allowed: ` + ids + `)`},
		{`{"projects": {"a": {"path": "/a"},` + "\n" + `"a": {"path": "/b"}}}`, "F:2:1: projects.a: is there twice (allowed: each key once)"},
	} {
		s := storeOf(t, test.text)
		_, err := s.Load()
		if err == nil {
			t.Errorf("%.80s: no error", test.text)
			continue
		}
		if got := strings.ReplaceAll(err.Error(), s.Path, "F"); got != test.want {
			t.Errorf("%.80s:\n got %s\nwant %s", test.text, got, test.want)
		}
		var faults project.Faults
		if !errors.As(err, &faults) {
			t.Errorf("%.80s: %T, want Faults", test.text, err)
		}
	}
}

func TestLoadAllFaultsAtOnce(t *testing.T) {
	t.Parallel()
	s := storeOf(t, `{"projects": {
"b": {"path": "b", "config": {"weight": 11, "priority": "x"}},
"a": {"path": "/a", "config": {"retryAttempts": -1}},
"a": {"path": "/a", "enabled": 0}
}}`)
	_, err := s.Load()
	var faults project.Faults
	if !errors.As(err, &faults) {
		t.Fatal(err)
	}
	var got []string
	for _, f := range faults {
		got = append(got, fmt.Sprint(f.Line, " ", f.Key))
	}
	want := []string{
		"2 projects.b.path", "2 projects.b.config.weight", "2 projects.b.config.priority",
		"3 projects.a.config.retryAttempts",
		"4 projects.a", "4 projects.a.enabled",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestLoadUnreadable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	huge := filepath.Join(dir, "huge.json")
	if err := os.WriteFile(huge, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(huge, 16<<20+1); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		dir:  "read the project registry: read " + dir + ": is a directory",
		huge: "read the project registry: read " + huge + ": larger than 16 MiB",
	} {
		if _, err := (project.Store{Path: path}).Load(); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", path, err, want)
		}
	}
}

// FuzzLoad feeds any text: loading never panics, and what loads can be changed.
func FuzzLoad(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"projects":{"a":{"path":"/a","config":{"priority":1}}}}`, "{\n// c\n\"projects\":{},}",
		`{"projects":{"a":{"path":"/a","config":{"env":{"A":"1"},"command":["x"]}},}/**/}`, `{"projects":null}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s := storeOf(t, text)
		before, err := s.Load()
		if err != nil {
			return
		}
		const id = "added-by-fuzz"
		if _, err := before.Get(id); err == nil {
			return
		}
		mustUpdate(t, s, add(id))
		after := mustLoad(t, s)
		added, removed, changed := project.Diff(before, after)
		if len(added) != 1 || len(removed)+len(changed) > 0 {
			t.Errorf("added %v, removed %v, changed %v", added, removed, changed)
		}
		mustUpdate(t, s, func(r *project.Registry) error { return r.Remove(id) })
		if _, removed, changed := project.Diff(before, mustLoad(t, s)); len(removed)+len(changed) > 0 {
			t.Errorf("removed %v, changed %v", removed, changed)
		}
	})
}

// To open a FIFO takes until somebody writes to it, in a reload for ever.
func TestLoadFIFO(t *testing.T) {
	t.Parallel()
	path := t.TempDir() + "/projects.json"
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	want := "read the project registry: open " + path + ": not a regular file"
	if _, err := (project.Store{Path: path}).Load(); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
