package runs_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/poppobuilder/poppobuilder/internal/runs"
)

// On a full disk nothing is accepted, the end of a run is kept, and all goes on
// when there is room.
func TestFullDisk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting a small file system needs root")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=512k"); err != nil {
		t.Skipf("mounting a small file system is not possible here: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	db, err := runs.Open(filepath.Join(dir, "runs.db"), runs.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	waiting := fill(t, db, 50)
	running, _ := db.Claim(waiting.ID, 1)
	commit(t, db)
	filler := filepath.Join(dir, "filler")
	for size := 1 << 20; size > 0; size /= 2 {
		f, _ := os.OpenFile(filler, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		_, _ = f.Write(make([]byte, size))
		f.Close()
	}

	// Free pages inside the file may take a few.
	for i := 0; ; i++ {
		run, err := db.Enqueue(runs.Request{Project: strings.Repeat("long", 200)})
		if err == nil {
			err = db.Commit()
		}
		if err == nil {
			if i > 1000 {
				t.Fatal("the disk does not get full")
			}
			continue
		}
		if e, ok := errors.AsType[*runs.WriteError](err); !ok || !e.Full() {
			t.Fatalf("on a full disk: %v", err)
		}
		if _, err := db.Get(run.ID); !errors.Is(err, runs.ErrNotFound) {
			t.Errorf("a run that was refused: %v", err)
		}
		break
	}
	if _, err := db.Enqueue(runs.Request{Project: "a"}); err == nil {
		t.Error("a run was accepted")
	}
	code := 0
	if _, _, err := db.Finish(running.ID, runs.Failed, runs.Exit{ExitCode: &code}, &runs.Request{Project: "project-1", Attempt: 2, Origin: running.Origin}); err != nil {
		t.Fatal(err)
	}
	_ = db.Commit()

	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	commit(t, db)
	if h := db.Health(); h.Err != nil {
		t.Errorf("health is %+v", h)
	}
	before := db.List(runs.Filter{})
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = openStore(t, filepath.Join(dir, "runs.db"), runs.Options{})
	if got := db.List(runs.Filter{}); len(got) != len(before) || db.Health().Rescue != nil {
		t.Errorf("%d runs became %d, %+v", len(before), len(got), db.Health())
	}
	if got, err := db.Get(running.ID); err != nil || got.State != runs.Failed {
		t.Errorf("what ended is %+v, %v", got, err)
	}
	list := db.List(runs.Filter{Project: "project-1", State: runs.Queued})
	if len(list) != 1 || list[0].Attempt != 2 {
		t.Errorf("what comes next is %+v", list)
	}
}
