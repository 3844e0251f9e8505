package project_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/poppobuilder/poppobuilder/internal/project"
)

// ancestor returns a store with what the Node program writes.
func ancestor(t *testing.T) (project.Store, string) {
	t.Helper()
	text, err := os.ReadFile("testdata/ancestor/projects.json")
	if err != nil {
		t.Fatal(err)
	}
	return storeOf(t, string(text)), string(text)
}

// The ancestor's file loads as it is: what we know of it counts.
func TestAncestorsProjects(t *testing.T) {
	t.Parallel()
	s, _ := ancestor(t)
	r := mustLoad(t, s)
	shop, err := r.Get("src-web-shop-3f9a1c")
	if err != nil {
		t.Fatal(err)
	}
	want := project.Config{
		Name: "web-shop", Priority: 80, Weight: 2.5, CheckInterval: ptr(30 * time.Second),
		GitHub:      project.GitHub{Owner: "me", Repo: "web-shop"},
		ActiveHours: &project.ActiveHours{Start: "9:00", End: "18:30", Timezone: "Asia/Tokyo"},
	}
	if diff := cmp.Diff(want, shop.Config); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, test := range []struct {
		id, at string
		open   bool
	}{
		{"src-web-shop-3f9a1c", "2026-01-01T08:59:00+09:00", false},
		{"src-web-shop-3f9a1c", "2026-01-01T09:00:00+09:00", true},
		{"src-web-shop-3f9a1c", "2026-01-01T18:30:00+09:00", false},
		{"me-night-0c0c0c", "2026-01-01T23:00:00Z", true},
		{"me-night-0c0c0c", "2026-01-01T05:59:00Z", true},
		{"me-night-0c0c0c", "2026-01-01T12:00:00Z", false},
		{"me-partly-121212", "2026-01-01T12:00:00Z", true}, // neither start nor end: the whole day
	} {
		p, err := r.Get(test.id)
		if err != nil {
			t.Fatal(err)
		}
		w, err := p.Config.Window()
		if err != nil {
			t.Fatal(err)
		}
		at, _ := time.Parse(time.RFC3339, test.at)
		if got := w.Open(at); got != test.open {
			t.Errorf("%s at %s: open: %t", test.id, test.at, got)
		}
	}
	if notes, err := r.Get("me-notes-77aa01"); err != nil || notes.Enabled {
		t.Errorf("%+v, %v", notes, err)
	}
}

// Where nothing changes, not a byte of the ancestor's file does.
func TestAncestorsProjectsAreKept(t *testing.T) {
	t.Parallel()
	s, before := ancestor(t)
	mustUpdate(t, s, edit("src-web-shop-3f9a1c", func(p *project.Project) {
		p.Config.Priority = 30
		p.Config.ActiveHours.End = "20:00"
		p.Config.Paused = true
		p.Config.Command = []string{"poppo", "--once"}
	}))
	changed := map[string]bool{}
	had := strings.Split(before, "\n")
	now := strings.Split(contents(t, s), "\n")
	for _, line := range now {
		changed[line] = true
	}
	var gone []string
	for _, line := range had {
		if !changed[line] {
			gone = append(gone, strings.TrimSpace(line))
		}
	}
	// The last one got a comma.
	if diff := cmp.Diff([]string{`"priority": 80,`, `"end": "18:30",`}, gone); diff != "" {
		t.Errorf("gone (-want +got):\n%s\n%s", diff, contents(t, s))
	}
	if n := len(now) - len(had); n != 2 { // paused, and command
		t.Errorf("%d lines more, want 2:\n%s", n, contents(t, s))
	}
	mustLoad(t, s)
}

func TestDefaultCommand(t *testing.T) {
	t.Parallel()
	def := []string{"poppo", "--dir={dir}", "{id}", "{else}"}
	p := project.Project{ID: "shop", Path: "/src/{id}"}
	if diff := cmp.Diff([]string{"poppo", "--dir=/src/{id}", "shop", "{else}"}, p.Command(def)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := p.Runnable(def); err != nil {
		t.Error(err)
	}
	if p.Command(nil) != nil || p.Runnable(nil) == nil {
		t.Error("runs without a command")
	}
	p.Config.Command = []string{"make", "{dir}"}
	if diff := cmp.Diff(p.Config.Command, p.Command(def)); diff != "" {
		t.Errorf("its own, as it is (-want +got):\n%s", diff)
	}
}
