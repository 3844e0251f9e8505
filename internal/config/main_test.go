package config_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/poppobuilder/poppobuilder/internal/config"
)

// setterFile makes the test binary a process that changes one file, see
// TestSetProcesses.
const setterFile = "CONFIG_TEST_SET"

func TestMain(m *testing.M) {
	if file := os.Getenv(setterFile); file != "" {
		if _, err := config.Set(file, os.Args[1], os.Args[2]); err != nil {
			os.Stderr.WriteString(err.Error())
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func setter(file, key, value string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], key, value)
	cmd.Env = append(os.Environ(), setterFile+"="+file)
	return cmd
}

// write makes a settings file and returns its path.
func write(t testing.TB, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func read(t rapid.TB, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// load loads text with an empty environment.
func load(t testing.TB, text string, args ...string) (*config.Loaded, error) {
	t.Helper()
	return config.Load(config.Options{File: write(t, text), Args: args, Environ: []string{}})
}

func mustLoad(t testing.TB, text string, args ...string) *config.Loaded {
	t.Helper()
	loaded, err := load(t, text, args...)
	if err != nil {
		t.Fatalf("load %q: %v", text, err)
	}
	return loaded
}

func faultsOf(t rapid.TB, err error) config.Faults {
	t.Helper()
	faults, ok := errors.AsType[config.Faults](err)
	if !ok {
		t.Fatalf("got %T (%v), want Faults", err, err)
	}
	return faults
}
