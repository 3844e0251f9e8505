package runs_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// openFiles counts the descriptors and mappings that this process has of the
// files whose path begins so.
func openFiles(t *testing.T, path string) (n int) {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Skipf("what is open cannot be seen here: %v", err)
	}
	n = strings.Count(string(maps), path)
	fds, _ := filepath.Glob("/proc/self/fd/*")
	for _, fd := range fds {
		if to, _ := os.Readlink(fd); strings.HasPrefix(to, path) {
			n++
		}
	}
	return n
}
