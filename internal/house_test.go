// Package internal_test asserts the rules of the house: which package may
// import which.
package internal_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/poppobuilder/poppobuilder/"

// libraries are the packages for everybody, which stand alone.
var libraries = []string{"pidfile", "signals", "supervisor", "procworker", "schedule"}

// importers tells who alone may import a library that others would spread.
var importers = map[string][]string{
	"github.com/thejerf/suture/v4":        {"supervisor"},
	"github.com/cenkalti/backoff/v4":      {"supervisor"},
	"github.com/peterbourgon/ff/v3":       {"internal/config", "cmd/poppobuilder"},
	"github.com/peterbourgon/ff/v3/ffcli": {"internal/config", "cmd/poppobuilder"},
	"github.com/oklog/run":                {"internal/master"},
	"go.etcd.io/bbolt":                    {"internal/runs"},
}

func TestRulesOfTheHouse(t *testing.T) {
	t.Parallel()
	packages := list(t)
	if len(packages) < len(libraries) {
		t.Fatalf("go list found only %v", packages)
	}
	for _, p := range packages {
		name := strings.TrimPrefix(p.ImportPath, module)
		for _, imported := range p.Imports {
			if allowed, ok := importers[imported]; ok && !slices.Contains(allowed, name) {
				t.Errorf("%s imports %s, which is for %v alone", name, imported, allowed)
			}
			if !isLibrary(name) || !strings.HasPrefix(imported, module) {
				continue
			}
			if other := strings.TrimPrefix(imported, module); root(other) != root(name) {
				t.Errorf("the library %s imports %s: libraries stand alone", name, other)
			}
		}
	}
}

type pkg struct {
	ImportPath string
	Imports    []string // of the package itself, not of its tests
}

func list(t *testing.T) []pkg {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", module+"...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var packages []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}

func isLibrary(name string) bool { return slices.Contains(libraries, root(name)) }

// root is the first element of a package's path in the module.
func root(name string) string {
	first, _, _ := strings.Cut(name, "/")
	return first
}
