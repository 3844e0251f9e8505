package logs_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/poppobuilder/poppobuilder/internal/logs"
)

func TestMain(m *testing.M) {
	if count := os.Getenv(envPrint); count != "" {
		os.Exit(printLines(count))
	}
	if path := os.Getenv("LOGS_TEST_STARVE"); path != "" {
		os.Exit(starve(path))
	}
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/poppobuilder/poppobuilder/procworker.serveForks"))
}

// open opens a log, and closes it when the test ends.
func open(t testing.TB, path string, l logs.Limits) *logs.Writer {
	t.Helper()
	w, err := logs.Open(path, l)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return w
}

// numbered returns lines with the numbers from first to last.
func numbered(first, last int) string {
	var b strings.Builder
	for i := first; i <= last; i++ {
		fmt.Fprintf(&b, "line %07d\n", i)
	}
	return b.String()
}

func write(t testing.TB, w io.Writer, s string) {
	t.Helper()
	if n, err := io.WriteString(w, s); n != len(s) || err != nil {
		t.Fatalf("write: got %d, %v", n, err)
	}
}

// rotatedFiles returns the names of a log's rotated files, in their order.
func rotatedFiles(t testing.TB, path string) []string {
	t.Helper()
	names, err := filepath.Glob(path + ".*")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return names
}

// content returns what is in a log, rotated files first.
func content(t testing.TB, path string) string {
	t.Helper()
	var all bytes.Buffer
	for _, name := range append(rotatedFiles(t, path), path) {
		all.Write(fileContent(t, name))
	}
	return all.String()
}

func fileContent(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(name, ".gz") {
		return data
	}
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if data, err = io.ReadAll(z); err != nil {
		t.Fatal(err)
	}
	return data
}
