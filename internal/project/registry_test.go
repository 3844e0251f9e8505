package project_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/poppobuilder/poppobuilder/internal/project"
)

func TestRegistryErrors(t *testing.T) {
	t.Parallel()
	var r project.Registry
	for _, id := range []string{"web", "api", "database"} {
		if err := add(id)(&r); err != nil {
			t.Fatal(err)
		}
	}
	_, unknown := r.Get("wbe")
	for _, test := range []struct {
		err  error
		is   error
		want string
	}{
		{add("web")(&r), project.ErrExists, `project "web" exists already (/srv/web): choose another id with --id, or change that one with "poppobuilder project set web"`},
		{unknown, project.ErrNotFound, `no project "wbe": did you mean "web"?`},
		{r.Remove("dtabasee"), project.ErrNotFound, `no project "dtabasee": did you mean "database"?`},
		{r.Remove("Api"), project.ErrNotFound, `no project "Api": did you mean "api"?`},
		{r.Set(project.Project{ID: "shop"}), project.ErrNotFound, `no project "shop": see "poppobuilder project list"`},
		{r.Remove(""), project.ErrNotFound, `no project "": see "poppobuilder project list"`},
	} {
		if !errors.Is(test.err, test.is) || test.err.Error() != test.want {
			t.Errorf("%v\nwant %s", test.err, test.want)
		}
	}
	if r.Len() != 3 {
		t.Errorf("%d projects", r.Len())
	}
}

func TestRegistryRefuses(t *testing.T) {
	t.Parallel()
	var r project.Registry
	err := r.Add(project.Project{ID: "a b", Path: "a", Config: project.Config{Priority: 500, Env: map[string]string{"": ""}}})
	want := []string{"", "path", "config.priority", "config.env."}
	var faults project.Faults
	if !errors.As(err, &faults) {
		t.Fatalf("%v", err)
	}
	var got []string
	for _, f := range faults {
		got = append(got, f.Key)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	bad := "\xff"
	for _, p := range []project.Project{
		{ID: "a", Path: "/" + bad},
		{ID: "a", Path: "/a", Config: project.Config{Name: bad}},
		{ID: "a", Path: "/a", Config: project.Config{Command: []string{bad}}},
		{ID: "a", Path: "/a", Config: project.Config{Env: map[string]string{"A": bad}}},
		{ID: "a", Path: "/a", Config: project.Config{GitHub: project.GitHub{Repo: bad}}},
	} {
		if err := r.Add(p); !errors.As(err, new(project.Faults)) {
			t.Errorf("%+v: %v", p, err)
		}
	}
}

func TestRegistryFillsIn(t *testing.T) {
	t.Parallel()
	var r project.Registry
	start := time.Now()
	if err := r.Add(project.Project{ID: "a", Path: "/a"}); err != nil {
		t.Fatal(err)
	}
	p, err := r.Get("a")
	if err != nil {
		t.Fatal(err)
	}
	if p.Config.Weight != 1 || p.CreatedAt.Sub(start).Abs() > time.Minute {
		t.Errorf("%+v", p)
	}
}

// What a caller does to its copy must not reach the registry.
func TestRegistryCopies(t *testing.T) {
	t.Parallel()
	var r project.Registry
	fresh := func() project.Project {
		return project.Project{ID: "a", Path: "/a", CreatedAt: time.Unix(1, 0).UTC(), Config: project.Config{
			Weight: 1, Command: []string{"x"}, Env: map[string]string{"A": "1"},
			CheckInterval: ptr(time.Second), RunTimeout: ptr(time.Second), RetryDelay: ptr(time.Second), RetryAttempts: ptr(1),
		}}
	}
	spoil := func(p project.Project) {
		c := p.Config
		c.Command[0], c.Env["A"] = "y", "2"
		*c.CheckInterval, *c.RunTimeout, *c.RetryDelay, *c.RetryAttempts = 2, 2, 2, 2
	}
	in := fresh()
	if err := r.Add(in); err != nil {
		t.Fatal(err)
	}
	spoil(in)
	got, err := r.Get("a")
	if err != nil {
		t.Fatal(err)
	}
	spoil(got)
	spoil(r.Projects()[0])
	if diff := cmp.Diff([]project.Project{fresh()}, r.Projects()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDiff(t *testing.T) {
	t.Parallel()
	old := storeOf(t, `{"projects": {"same": {"path": "/a", "enabled": true}, "gone": {"path": "/b"}, "other": {"path": "/c"}}}`)
	new := storeOf(t, `{"projects": {"z": {"path": "/z"}, "b": {"path": "/b"}, "same": {"path": "/a", "config": {"weight": 1.0}}, "other": {"path": "/d"}}}`)
	type sets struct{ Added, Removed, Changed []string }
	diff := func(old, new *project.Registry) (s sets) {
		s.Added, s.Removed, s.Changed = project.Diff(old, new)
		return s
	}
	for _, test := range []struct{ got, want sets }{
		{diff(mustLoad(t, old), mustLoad(t, new)), sets{[]string{"b", "z"}, []string{"gone"}, []string{"other"}}},
		{diff(nil, mustLoad(t, old)), sets{Added: []string{"gone", "other", "same"}}},
		{diff(mustLoad(t, old), nil), sets{Removed: []string{"gone", "other", "same"}}},
		{diff(nil, nil), sets{}},
	} {
		if diff := cmp.Diff(test.want, test.got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestConfigDefaults(t *testing.T) {
	t.Parallel()
	var none project.Config
	some := project.Config{CheckInterval: ptr(time.Duration(0)), RunTimeout: ptr(time.Second), RetryAttempts: ptr(0), RetryDelay: ptr(time.Minute)}
	for _, test := range []struct {
		name      string
		got, want any
	}{
		{"no interval", none.Interval(time.Hour), time.Hour},
		{"interval", some.Interval(time.Hour), time.Duration(0)},
		{"no timeout", none.Timeout(time.Hour), time.Hour},
		{"timeout", some.Timeout(time.Hour), time.Second},
		{"no attempts", none.Attempts(3), 3},
		{"attempts", some.Attempts(3), 0},
		{"no delay", none.Delay(time.Hour), time.Hour},
		{"delay", some.Delay(time.Hour), time.Minute},
	} {
		if test.got != test.want {
			t.Errorf("%s: %v, want %v", test.name, test.got, test.want)
		}
	}
}

func TestJSON(t *testing.T) {
	t.Parallel()
	p := project.Project{ID: "a", Path: "/a", Config: project.Config{Priority: 1, CheckInterval: ptr(1500 * time.Microsecond), RunTimeout: ptr(time.Second)}}
	got, err := json.Marshal(p)
	want := `{"id":"a","path":"/a","enabled":false,"config":{"priority":1,"weight":1,"schedule":{"checkInterval":"1.5ms"},"runTimeout":1000}}`
	if err != nil || string(got) != want {
		t.Errorf("%s, %v\nwant %s", got, err, want)
	}
	for text, want := range map[string]string{
		`{"config": {"weight": "x", "env": 1}}`: "config.weight: \"x\" does not fit (allowed: a number, 0.1..10)\nconfig.env: 1 does not fit (allowed: an object)",
		`[]`:                                    ": an array does not fit (allowed: an object)",
	} {
		err := json.Unmarshal([]byte(text), new(project.Project))
		if !errors.As(err, new(project.Faults)) || !strings.HasSuffix(": "+err.Error(), want) {
			t.Errorf("%s: %v\nwant %s", text, err, want)
		}
	}
	// What is not said gets its default, also in a value that was used before.
	used := project.Project{ID: "old", Config: project.Config{Priority: 3}}
	if err := json.Unmarshal([]byte(`{"path": "/x"}`), &used); err != nil {
		t.Fatal(err)
	}
	if want := (project.Project{Path: "/x", Enabled: true, Config: project.DefaultConfig()}); !used.Equal(want) {
		t.Errorf("%+v", used)
	}
}

func TestJSONRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := genProject().Draw(t, "project")
		data, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got project.Project
		if err := json.Unmarshal(data, &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" || !want.Equal(got) {
			t.Fatalf("(-want +got):\n%s", diff)
		}
	})
}

func TestValidateID(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 200)
	for _, id := range []string{"a", "A", "0", "_", "web-1.2_x", "a.", "a-", long} {
		if err := project.ValidateID(id); err != nil {
			t.Error(err)
		}
	}
	for _, id := range []string{"", ".", "..", ".a", "-a", "a/b", `a\b`, "a b", "a\n", "é", "a\x00", long + "x"} {
		err := project.ValidateID(id)
		if err == nil || !strings.Contains(err.Error(), "cannot be a project's id: use 1 to 200") {
			t.Errorf("%q: %v", id, err)
		}
	}
}

func TestDefaultID(t *testing.T) {
	t.Parallel()
	for dir, want := range map[string]string{
		"/home/me/Web Shop":                "web-shop",
		"/home/me/web/":                    "web",
		"repo.git":                         "repo.git",
		"a  (copy)":                        "a-copy",
		".dotfiles":                        "dotfiles",
		"--x--":                            "x",
		"_x":                               "_x",
		"プロジェクト":                           "project",
		"プロジェクト2":                          "2",
		"/":                                "project",
		".":                                "project",
		"":                                 "project",
		strings.Repeat("x", 199) + "-y":    strings.Repeat("x", 199),
		"/x/" + strings.Repeat("long", 60): strings.Repeat("long", 50),
	} {
		if got := project.DefaultID(dir); got != want {
			t.Errorf("%q: %q, want %q", dir, got, want)
		}
	}
}

func FuzzDefaultID(f *testing.F) {
	f.Add("/home/me/web")
	f.Fuzz(func(t *testing.T, dir string) {
		if err := project.ValidateID(project.DefaultID(dir)); err != nil {
			t.Errorf("%q: %v", dir, err)
		}
	})
}
