package project_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/poppobuilder/poppobuilder/internal/project"
)

// The file before and after a change: what is not concerned stays, to the byte.
func TestUpdateKeeps(t *testing.T) {
	t.Parallel()
	created := func(p *project.Project) { p.CreatedAt = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }
	addB := func(r *project.Registry) error {
		p := project.Project{ID: "b", Path: "/b", Enabled: true, Config: project.Config{Priority: 50, Command: []string{"make", "<&>"}}}
		created(&p)
		return r.Add(p)
	}
	for _, test := range []struct {
		name   string
		change func(*project.Registry) error
		before string
		after  string
	}{
		{
			"a value, among comments",
			edit("a", func(p *project.Project) { p.Config.Priority = 7 }),
			`{ // one
	"projects": { "a": { "path": "/a", // two
		"config": { "priority" : /* three */ 50 /* four */ , "x": [1,2 ], }, }, },
}
// five`,
			`{ // one
	"projects": { "a": { "path": "/a", // two
		"config": { "priority" : /* three */ 7 /* four */ , "x": [1,2 ], }, }, },
}
// five
`,
		},
		{
			"a new key after a comment, with tabs and a trailing comma",
			edit("a", func(p *project.Project) { p.Config.Name = "A" }),
			"{\n\t\"projects\": {\n\t\t\"a\": {\n\t\t\t\"path\": \"/a\",\n\t\t\t\"config\": {\n\t\t\t\t\"priority\": 7, // low\n\t\t\t},\n\t\t},\n\t},\n}",
			"{\n\t\"projects\": {\n\t\t\"a\": {\n\t\t\t\"path\": \"/a\",\n\t\t\t\"config\": {\n\t\t\t\t\"priority\": 7, // low\n\t\t\t\t\"name\": \"A\",\n\t\t\t},\n\t\t},\n\t},\n}",
		},
		{
			"a new key, with carriage returns",
			edit("a", func(p *project.Project) { p.Enabled = false }),
			"{\r\n  \"projects\": {\r\n    \"a\": {\r\n      \"path\": \"/a\"\r\n    }\r\n  }\r\n}\r\n",
			"{\r\n  \"projects\": {\r\n    \"a\": {\r\n      \"path\": \"/a\",\r\n      \"enabled\": false\r\n    }\r\n  }\r\n}\r\n",
		},
		{
			"a new key in an object on one line",
			edit("a", func(p *project.Project) { p.Config.Name = "A" }),
			`{"projects":{"a":{"path":"/a","config":{"weight":2}}}}`,
			`{"projects":{"a":{"path":"/a","config":{"weight":2, "name": "A"}}}}`,
		},
		{
			"the interval goes, its neighbours in the schedule stay",
			edit("a", func(p *project.Project) { p.Config.CheckInterval = nil }),
			`{"projects":{"a":{"path":"/a","config":{"schedule":{"checkInterval":5,"activeHours":{}}}}}}`,
			`{"projects":{"a":{"path":"/a","config":{"schedule":{"activeHours":{}}}}}}`,
		},
		{
			"the interval goes, and the schedule that had nothing else",
			edit("a", func(p *project.Project) { p.Config.CheckInterval = nil }),
			`{"projects":{"a":{"path":"/a","config":{"weight":2, "schedule":{"checkInterval":5}}}}}`,
			`{"projects":{"a":{"path":"/a","config":{"weight":2}}}}`,
		},
		{
			"the interval comes to a schedule that is there",
			edit("a", func(p *project.Project) { p.Config.CheckInterval = ptr(90 * time.Second) }),
			`{"projects":{"a":{"path":"/a","config":{"schedule":{"activeHours":{}}}}}}`,
			`{"projects":{"a":{"path":"/a","config":{"schedule":{"activeHours":{}, "checkInterval": 90000}}}}}`,
		},
		{
			"one variable of three",
			edit("a", func(p *project.Project) { p.Config.Env = map[string]string{"A": "1", "B": "two"} }),
			`{"projects":{"a":{"path":"/a","config":{"env":{"A":"1"/*x*/,"C":"3","B":"2"}}}}}`,
			`{"projects":{"a":{"path":"/a","config":{"env":{"A":"1"/*x*/,"B":"two"}}}}}`,
		},
		{
			"the last variable: no comma comes of the space before the old one",
			edit("a", func(p *project.Project) { p.Config.Env = map[string]string{"A": "1"} }),
			`{"projects":{"a":{"path":"/a","config":{"env":{"A":"1" ,"C":"3"}}}}}`,
			`{"projects":{"a":{"path":"/a","config":{"env":{"A":"1" }}}}}`,
		},
		{
			"the last variable: the comma after it stays",
			edit("a", func(p *project.Project) { p.Config.Env = map[string]string{"A": "1"} }),
			`{"projects":{"a":{"path":"/a","config":{"env":{"A":"1", "C":"3",}}}}}`,
			`{"projects":{"a":{"path":"/a","config":{"env":{"A":"1",}}}}}`,
		},
		{
			"a variable whose name means another one in JSON pointers",
			edit("a", func(p *project.Project) { p.Config.Env = map[string]string{"/": "1"} }),
			`{"projects":{"a":{"path":"/a","config":{"env":{"/":"1", "~1":"3"}}}}}`,
			`{"projects":{"a":{"path":"/a","config":{"env":{"/":"1"}}}}}`,
		},
		{
			"a null gives way",
			edit("a", func(p *project.Project) { p.Config.Name = "A" }),
			`{"projects":{"a":{"path":"/a","config":{"name":null}}}}`,
			`{"projects":{"a":{"path":"/a","config":{"name":"A"}}}}`,
		},
		{
			"a new project",
			addB,
			"{\n  \"projects\": {\n    \"a\": {\"path\": \"/a\"} // first\n  },\n  \"z\": 1\n}\n",
			`{
  "projects": {
    "a": {"path": "/a"}, // first
    "b": {
      "path": "/b",
      "enabled": true,
      "createdAt": "2026-01-02T03:04:05Z",
      "config": {
        "priority": 50,
        "weight": 1,
        "command": ["make", "<&>"]
      }
    }
  },
  "z": 1
}
`,
		},
		{
			"the first project of an empty object",
			addB,
			`{}`,
			`{
  "projects": {
    "b": {
      "path": "/b",
      "enabled": true,
      "createdAt": "2026-01-02T03:04:05Z",
      "config": {
        "priority": 50,
        "weight": 1,
        "command": ["make", "<&>"]
      }
    }
  }
}`,
		},
		{
			"a project goes",
			func(r *project.Registry) error { return r.Remove("b") },
			"{\n  \"projects\": {\n    \"a\": {\"path\": \"/a\"}, // first\n    // second\n    \"b\": {\"path\": \"/b\"},\n    \"c\": {\"path\": \"/c\"}\n  }\n}\n",
			"{\n  \"projects\": {\n    \"a\": {\"path\": \"/a\"}, // first\n    \"c\": {\"path\": \"/c\"}\n  }\n}\n",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := storeOf(t, test.before)
			mustUpdate(t, s, test.change)
			if diff := cmp.Diff(test.after, contents(t, s)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestUpdateMakesFile(t *testing.T) {
	t.Parallel()
	s := project.Store{Path: filepath.Join(t.TempDir(), "home", "projects.json")}
	mustUpdate(t, s, add("a"))
	for path, want := range map[string]os.FileMode{s.Path: 0o600, filepath.Dir(s.Path): os.ModeDir | 0o700} {
		if info, err := os.Stat(path); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v; want %v", path, info.Mode(), err, want)
		}
	}
	if !strings.HasPrefix(contents(t, s), "{\n  \"version\": \"1.0.0\",\n  \"projects\": {\n    \"a\": {\n") {
		t.Errorf("file:\n%s", contents(t, s))
	}
	if _, err := mustLoad(t, s).Get("a"); err != nil {
		t.Error(err)
	}
}

func TestUpdateTightensMode(t *testing.T) {
	t.Parallel()
	s := storeOf(t, "{}")
	if err := os.Chmod(s.Path, 0o644); err != nil {
		t.Fatal(err)
	}
	mustUpdate(t, s, add("a"))
	if info, err := os.Stat(s.Path); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestUpdateWithoutChange(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	for name, test := range map[string]struct {
		text   string
		change func(*project.Registry) error
		want   string
	}{
		"nothing":      {`{"projects":{"a":{"path":"/a"}}}`, edit("a", func(p *project.Project) { p.Config.Weight = 1 }), ""},
		"there & back": {`{}`, func(r *project.Registry) error { return errors.Join(add("a")(r), r.Remove("a")) }, ""},
		"fn fails":     {`{}`, func(r *project.Registry) error { return errors.Join(add("a")(r), boom) }, "boom"},
		"bad project": {
			`{"projects":{"a":{"path":"/a"}}}`,
			edit("a", func(p *project.Project) { p.Path = "a" }),
			`path: "a" is not absolute (allowed: an absolute path)`,
		},
		"bad file": {`{"projects":1}`, add("a"), "F:1:13: projects: 1 does not fit (allowed: an object)"},
	} {
		s := storeOf(t, test.text)
		before, err := os.Stat(s.Path)
		if err != nil {
			t.Fatal(err)
		}
		err = s.Update(test.change)
		if got := strings.ReplaceAll(fmt.Sprint(err), s.Path, "F"); test.want == "" && err != nil || test.want != "" && got != test.want {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
		if after, err := os.Stat(s.Path); err != nil || !os.SameFile(before, after) || contents(t, s) != test.text {
			t.Errorf("%s: the file was written: %s", name, contents(t, s))
		}
	}
}

// A panic in the function must not leave the lock behind.
func TestUpdatePanic(t *testing.T) {
	t.Parallel()
	s := storeOf(t, "{}")
	func() {
		defer func() { _ = recover() }()
		_ = s.Update(func(*project.Registry) error { panic("boom") })
	}()
	mustUpdate(t, s, add("a"))
}

func TestUpdateThroughLink(t *testing.T) {
	t.Parallel()
	for name, target := range map[string]string{"to a file": "dotfiles/p.json", "to nothing": "dotfiles/new/p.json"} {
		dir := t.TempDir()
		if err := os.Mkdir(dir+"/dotfiles", 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(dir+"/dotfiles/p.json", []byte("{}"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, dir+"/link"); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(dir+"/link", dir+"/projects.json"); err != nil {
			t.Fatal(err)
		}
		mustUpdate(t, project.Store{Path: dir + "/projects.json"}, add("a"))
		if got, err := os.Readlink(dir + "/projects.json"); err != nil || got != dir+"/link" {
			t.Errorf("%s: the link is now %q, %v", name, got, err)
		}
		if got := mustLoad(t, project.Store{Path: dir + "/" + target}).Len(); got != 1 {
			t.Errorf("%s: the target has %d projects", name, got)
		}
	}
}

// A relative link counts from the directory that it is really in.
func TestUpdateThroughLinkInLinkedDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, err := range []error{
		os.MkdirAll(dir+"/deep/home", 0o700),
		os.Symlink("../shared.json", dir+"/deep/home/projects.json"),
		os.Symlink("deep/home", dir+"/home"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	s := project.Store{Path: dir + "/home/projects.json"}
	mustUpdate(t, s, add("a"))
	if got := mustLoad(t, s).Len(); got != 1 {
		t.Errorf("%d projects behind the link", got)
	}
	if _, err := os.Stat(dir + "/deep/shared.json"); err != nil {
		t.Error(err)
	}
}

// What root makes in another user's home is that user's, or the user's daemon
// could not read it and the next change could not lock it.
func TestUpdateByRoot(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can write for another user")
	}
	dir := t.TempDir()
	const user = 65534
	if err := os.Chown(dir, user, user); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"a", "b"} { // the first makes the file, the second replaces it
		mustUpdate(t, project.Store{Path: dir + "/projects.json"}, add(id))
		for _, name := range []string{"/projects.json", "/projects.json.lock"} {
			info, err := os.Stat(dir + name)
			if err != nil {
				t.Fatal(err)
			}
			if owner := info.Sys().(*syscall.Stat_t); owner.Uid != user || owner.Gid != user {
				t.Errorf("%s is owned by %d:%d", name, owner.Uid, owner.Gid)
			}
		}
	}
}

// The lock is no way to make or open a file elsewhere.
func TestUpdateLockLink(t *testing.T) {
	t.Parallel()
	dir, elsewhere := t.TempDir(), t.TempDir()+"/victim"
	if err := os.Symlink(elsewhere, dir+"/projects.json.lock"); err != nil {
		t.Fatal(err)
	}
	if err := (project.Store{Path: dir + "/projects.json"}).Update(add("a")); !errors.Is(err, syscall.ELOOP) {
		t.Errorf("got %v, want %v", err, syscall.ELOOP)
	}
	if _, err := os.Lstat(elsewhere); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("made %s: %v", elsewhere, err)
	}
}

func TestUpdateImpossible(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, err := range []error{
		os.WriteFile(dir+"/file", nil, 0o600),
		os.Symlink("b", dir+"/a"),
		os.Symlink("a", dir+"/b"),
		os.Mkdir(dir+"/p.json.lock", 0o700),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]string{
		dir + "/file/projects.json": "update the project registry: mkdir " + dir + "/file: not a directory",
		dir + "/a":                  "update the project registry: open " + dir + "/a: too many symbolic links",
		dir + "/p.json":             "lock the project registry: open " + dir + "/p.json.lock: is a directory",
	} {
		if err := (project.Store{Path: path}).Update(add("a")); err == nil || err.Error() != want {
			t.Errorf("%v\nwant %s", err, want)
		}
	}
}

// Updates at the same time, by goroutines and by processes, lose nothing.
func TestUpdateAtOnce(t *testing.T) {
	t.Parallel()
	s := storeOf(t, "{ // kept\n}")
	var all sync.WaitGroup
	const each = 3
	for g := range each {
		all.Go(func() {
			for i := range addsEach {
				if err := s.Update(add(fmt.Sprintf("g%d-%d", g, i))); err != nil {
					t.Error(err)
				}
			}
		})
		all.Go(func() {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), addsTo+"="+s.Path)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	all.Wait()
	if got, want := mustLoad(t, s).Len(), 2*each*addsEach; got != want {
		t.Errorf("%d projects, want %d", got, want)
	}
	if !strings.Contains(contents(t, s), "// kept") {
		t.Error("the comment is gone")
	}
	if left, err := filepath.Glob(filepath.Dir(s.Path) + "/.*"); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// Any registry survives being stored, whatever it is changed into.
func TestUpdateRoundTrip(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		path := filepath.Join(dir, "projects.json")
		if err := os.WriteFile(path, []byte("{\"keep\": [1, /* me */ 2,],}"), 0o600); err != nil {
			rt.Fatal(err)
		}
		s := project.Store{Path: path}
		for range rapid.IntRange(1, 3).Draw(rt, "updates") {
			want := rapid.MapOfNValues(genProject(), 0, 4, func(p project.Project) string { return p.ID }).Draw(rt, "projects")
			err := s.Update(func(r *project.Registry) error {
				for _, p := range r.Projects() {
					if _, ok := want[p.ID]; !ok {
						if err := r.Remove(p.ID); err != nil {
							return err
						}
					}
				}
				for _, p := range want {
					err := r.Set(p)
					if errors.Is(err, project.ErrNotFound) {
						err = r.Add(p)
					}
					if err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				rt.Fatal(err)
			}
			got := make(map[string]project.Project)
			r, err := s.Load()
			if err != nil {
				rt.Fatal(err)
			}
			for _, p := range r.Projects() {
				got[p.ID] = p
			}
			if diff := cmp.Diff(want, got); diff != "" {
				rt.Fatalf("(-want +got):\n%s", diff)
			}
			if data, _ := os.ReadFile(path); !strings.HasPrefix(string(data), "{\"keep\": [1, /* me */ 2,],") {
				rt.Fatalf("lost what is not ours:\n%s", data)
			}
		}
	})
}

// genProject draws valid projects in their normal form: what is empty is nil.
func genProject() *rapid.Generator[project.Project] {
	text := rapid.StringMatching(`[ -~é世]{1,8}`)
	duration := rapid.Ptr(rapid.Map(rapid.Int64Range(0, 1<<50), func(n int64) time.Duration { return time.Duration(n) }), true)
	return rapid.Custom(func(t *rapid.T) project.Project {
		c := project.Config{
			Name:          rapid.OneOf(rapid.Just(""), text).Draw(t, "name"),
			Priority:      rapid.IntRange(0, 100).Draw(t, "priority"),
			Weight:        rapid.Float64Range(0.1, 10).Draw(t, "weight"),
			CheckInterval: duration.Draw(t, "interval"),
			RunTimeout:    duration.Draw(t, "timeout"),
			RetryDelay:    duration.Draw(t, "delay"),
			RetryAttempts: rapid.Ptr(rapid.IntRange(0, 100), true).Draw(t, "attempts"),
			Leftovers:     rapid.SampledFrom([]string{"", "kill", "wait"}).Draw(t, "leftovers"),
			OnInterrupt:   rapid.SampledFrom([]string{"", "retry", "fail"}).Draw(t, "onInterrupt"),
			GitHub:        project.GitHub{Owner: rapid.SampledFrom([]string{"", "me"}).Draw(t, "owner")},
			Timezone:      rapid.SampledFrom([]string{"", "UTC"}).Draw(t, "zone"),
			TimeSlice:     rapid.Ptr(rapid.Map(rapid.IntRange(1, 1e6), func(n int) time.Duration { return time.Duration(n) * time.Second }), true).Draw(t, "slice"),
			Jitter:        rapid.Ptr(rapid.Map(rapid.IntRange(0, 86400), func(n int) time.Duration { return time.Duration(n) * time.Second }), true).Draw(t, "jitter"),
			Paused:        rapid.Bool().Draw(t, "paused"),
		}
		if c.CheckInterval == nil {
			c.Cron = rapid.SampledFrom([]string{"", "@daily", "1 2 3 4 *"}).Draw(t, "cron")
		}
		if rapid.Bool().Draw(t, "has hours") {
			clock := rapid.SampledFrom([]string{"", "09:00", "18:00"})
			c.ActiveHours = &project.ActiveHours{Start: clock.Draw(t, "start"), End: clock.Draw(t, "end"), Timezone: c.Timezone}
		}
		for _, name := range project.LimitNames() {
			if rapid.Bool().Draw(t, name) {
				if err := c.Limits.Set(name, strconv.Itoa(rapid.IntRange(1, 7).Draw(t, name))); err != nil {
					t.Fatal(err)
				}
			}
		}
		if rapid.Bool().Draw(t, "runnable") {
			c.Command = rapid.SliceOfN(text, 1, 3).Draw(t, "command")
		}
		if rapid.Bool().Draw(t, "has env") {
			c.Env = rapid.MapOfN(rapid.StringMatching(`[A-C./~]{1,2}`), text, 1, 3).Draw(t, "env")
		}
		return project.Project{
			ID:        rapid.StringMatching(`[a-c][.a]?`).Draw(t, "id"),
			Path:      "/" + text.Draw(t, "path"),
			Enabled:   rapid.Bool().Draw(t, "enabled"),
			CreatedAt: time.Unix(rapid.Int64Range(0, 1<<32).Draw(t, "created"), 0).UTC(),
			Config:    c,
		}
	})
}
