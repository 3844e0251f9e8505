package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/poppobuilder/poppobuilder/internal/api"
)

// A log that takes nothing neither stops its run nor stays hidden, and it
// recovers by itself.
func TestStatusNamesTheLogThatLosesLines(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skipf("needs a device that is full: %v", err)
	}
	h := newHome(t, `{"daemon":{"maxProcesses":1,"port":null}}`)
	log := h.paths.ProjectLog("any")
	if err := errors.Join(os.MkdirAll(filepath.Dir(log), 0o700), os.Symlink("/dev/full", log)); err != nil {
		t.Fatal(err)
	}
	h.must("project", "add", h.dir, "--id", "any", "--", "sh", "-c", "for i in 1 2 3 4 5; do echo $i; done; while :; do echo more; sleep 0.05; done")
	h.must("daemon", "start")
	named := func(s api.Status) bool {
		return len(s.Dropped.Logs) == 1 && s.Dropped.Logs[0].Log == "projects/any.log" && s.Dropped.Logs[0].Lines > 0
	}
	got := h.await("the lost lines", func(s api.Status) bool { return s.Queue.Running == 1 && named(s) })
	if got.Dropped.LogLines != got.Dropped.Logs[0].Lines {
		t.Errorf("got %+v", got.Dropped)
	}
	if text := h.must("daemon", "status"); !strings.Contains(text, "\n  projects/any.log: ") {
		t.Errorf("the text does not name the log:\n%s", text)
	}
	if err := os.Remove(log); err != nil {
		t.Fatal(err)
	}
	h.await("the log", func(api.Status) bool {
		text, _ := os.ReadFile(log)
		return strings.HasPrefix(string(text), "more\n")
	})
	h.must("project", "cancel", "any")
	after := h.await("the count of the whole run", func(s api.Status) bool { return s.Queue.Running == 0 && named(s) })
	if after.Dropped.Logs[0].Lines < got.Dropped.Logs[0].Lines {
		t.Errorf("%d lines at the end, %d before", after.Dropped.Logs[0].Lines, got.Dropped.Logs[0].Lines)
	}
	h.must("daemon", "stop")
}
