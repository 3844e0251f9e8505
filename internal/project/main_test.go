package project_test

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/poppobuilder/poppobuilder/internal/project"
)

// addsTo makes a process of the test binary add projects to the registry there.
const addsTo = "TEST_PROJECT_ADDS_TO"

// addsEach is how many projects such a process adds.
const addsEach = 10

func TestMain(m *testing.M) {
	if path := os.Getenv(addsTo); path != "" {
		for i := range addsEach {
			if err := (project.Store{Path: path}).Update(add(fmt.Sprintf("p%d-%d", os.Getpid(), i))); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// add returns a change that adds a plain project.
func add(id string) func(*project.Registry) error {
	return func(r *project.Registry) error {
		return r.Add(project.Project{ID: id, Path: "/srv/" + id, Config: project.DefaultConfig()})
	}
}

// edit returns a change of one project.
func edit(id string, f func(*project.Project)) func(*project.Registry) error {
	return func(r *project.Registry) error {
		p, err := r.Get(id)
		if err != nil {
			return err
		}
		f(&p)
		return r.Set(p)
	}
}

// storeOf returns a store whose file has that text.
func storeOf(t testing.TB, text string) project.Store {
	t.Helper()
	path := t.TempDir() + "/projects.json"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return project.Store{Path: path}
}

func contents(t testing.TB, s project.Store) string {
	t.Helper()
	data, err := os.ReadFile(s.Path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func mustLoad(t testing.TB, s project.Store) *project.Registry {
	t.Helper()
	r, err := s.Load()
	if err != nil {
		t.Fatalf("load: %v\n%s", err, contents(t, s))
	}
	return r
}

func mustUpdate(t testing.TB, s project.Store, f func(*project.Registry) error) {
	t.Helper()
	if err := s.Update(f); err != nil {
		t.Fatalf("update: %v", err)
	}
}

func ptr[T any](v T) *T { return &v }
