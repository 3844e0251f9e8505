package procworker_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/poppobuilder/poppobuilder/procworker"
)

// cgroups returns a place for cgroups of the test's own.
func cgroups(t testing.TB) *procworker.Cgroups {
	t.Helper()
	c, err := procworker.OpenCgroups("procworker-test-" + strings.ReplaceAll(t.Name(), "/", "_"))
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// members returns the processes in a cgroup and below it, by cgroup.procs.
func members(t testing.TB, dir string) (pids []string) {
	t.Helper()
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == "cgroup.procs" {
			text, _ := os.ReadFile(path)
			pids = append(pids, strings.Fields(string(text))...)
		}
		return nil
	})
	return pids
}

func entries(t testing.TB, dir string) (dirs []string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		if e.IsDir() {
			dirs = append(dirs, e.Name())
		}
	}
	return dirs
}

// What has left group, session, parents and environment does not leave the
// cgroup. Without it TestEscapeeHoldsPipes sees such a process survive.
func TestCgroupHoldsEscapees(t *testing.T) {
	t.Parallel()
	for _, kill := range []bool{false, true} {
		c := cgroups(t)
		w, m := escapee(t, escape+sayReady+"exec sleep 1000")
		w.Cgroups = c
		s := serve(t, w).awaitReady()
		if got := members(t, c.Path()); len(got) < 2 {
			t.Errorf("members %v, want the child and the escapee", got)
		}
		if kill {
			w.Kill()
			_ = s.end()
		} else {
			s.stop()
		}
		if left := alive(m); len(left) > 0 {
			t.Errorf("alive after Serve: %v", left)
		}
		if left := entries(t, c.Path()); len(left) > 0 {
			t.Errorf("cgroups left: %v", left)
		}
	}
}

// What a program left behind that was killed is gone when its name is opened
// again.
func TestCgroupsOfTheDead(t *testing.T) {
	t.Parallel()
	c := cgroups(t)
	w, m := escapee(t, escape+sayReady+"exec sleep 1000")
	w.Cgroups = c
	s := serve(t, w).awaitReady()
	again, err := procworker.OpenCgroups(filepath.Base(c.Path()))
	if err != nil {
		t.Fatal(err)
	}
	if again.Path() != c.Path() {
		t.Errorf("another place: %q, before %q", again.Path(), c.Path())
	}
	if left := alive(m); len(left) > 0 {
		t.Errorf("alive: %v", left)
	}
	var exit *procworker.ExitError
	if err := s.end(); !errors.As(err, &exit) || exit.Signal != syscall.SIGKILL {
		t.Errorf("Serve = %v", err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(c.Path()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after Close: %v", err)
	}
}

// A child may use cgroups itself: they are below its own, and end with it.
func TestCgroupsOfAChild(t *testing.T) {
	t.Parallel()
	c := cgroups(t)
	w := asChild(t, "nested")
	w.Cgroups = c
	m := mark(t, w)
	s := serve(t, w).awaitReady()
	if got := members(t, c.Path()); len(got) < 2 {
		t.Errorf("members %v", got)
	}
	deepest := 0
	_ = filepath.WalkDir(c.Path(), func(path string, d fs.DirEntry, _ error) error {
		deepest = max(deepest, strings.Count(strings.TrimPrefix(path, c.Path()), "/"))
		return nil
	})
	if deepest < 5 { // generation/place/generation/main/file
		t.Errorf("the child's cgroups are not below its own: depth %d", deepest)
	}
	if err := w.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = s.end()
	if left := alive(m); len(left) > 0 {
		t.Errorf("alive after Serve: %v", left)
	}
	if left := entries(t, c.Path()); len(left) > 0 {
		t.Errorf("cgroups left: %v", left)
	}
}

// playNested is a worker with workers in cgroups.
func playNested(string) int {
	c, err := procworker.OpenCgroups("inner")
	if err != nil {
		os.Stderr.WriteString(err.Error() + "\n")
		return 2
	}
	w := &procworker.Worker{Command: []string{"sh", "-c", "sleep 1000"}, Cgroups: c}
	ctx, cancel := context.WithTimeout(context.Background(), hangGuard)
	defer cancel()
	_ = w.ServeReady(ctx, func() { announce() })
	return 1
}

// A Worker may not start outside of its cgroup.
func TestCgroupIsGone(t *testing.T) {
	t.Parallel()
	c := cgroups(t)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	w := &procworker.Worker{Command: []string{"true"}, Cgroups: c}
	var spawn *procworker.SpawnError
	if err := w.Serve(t.Context()); !errors.As(err, &spawn) {
		t.Errorf("Serve = %v, want *SpawnError", err)
	}
}

func TestFindCgroup(t *testing.T) {
	t.Parallel()
	const (
		unified = "30 1 0:25 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
		hybrid  = "31 30 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n40 30 0:37 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
		bound   = "50 1 0:25 /a/b /mnt/with\\040space rw - cgroup2 cgroup2 rw\n"
	)
	tests := []struct {
		name, membership, mounts, want string
	}{
		{"unified", "0::/system.slice/x.service\n", unified, "/sys/fs/cgroup/system.slice/x.service"},
		{"root", "0::/\n", unified, "/sys/fs/cgroup"},
		{"hybrid", "8:pids:/p\n0::/u\n", hybrid, "/sys/fs/cgroup/unified/u"},
		{"a part is mounted", "0::/a/b/c\n", bound, "/mnt/with space/c"},
		{"another part is mounted", "0::/a/bc\n", bound, ""},
		{"the second mount has it", "0::/u\n", bound + unified, "/sys/fs/cgroup/u"},
		{"outside of the namespace", "0::/../x\n", unified, ""},
		{"v1 only", "8:pids:/p\n", "31 30 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n", ""},
		{"nothing", "", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := procworker.FindCgroup(tt.membership, tt.mounts)
			if got != tt.want || (err == nil) != (tt.want != "") {
				t.Errorf("FindCgroup = %q, %v, want %q", got, err, tt.want)
			}
		})
	}
}

// keeper returns a place whose cgroups keep limits.
func keeper(t testing.TB, l procworker.Limits) *procworker.Cgroups {
	t.Helper()
	c := cgroups(t)
	if err := c.Supports(l); err != nil {
		t.Skipf("%v (controllers that are mounted as v1 are not to be had)", err)
	}
	return c
}

func TestCgroupMemoryLimit(t *testing.T) {
	t.Parallel()
	l := procworker.Limits{Memory: 20 << 20}
	w := shell(t, sayReady+`a=xxxxxxxxxxxxxxxx; while :; do a=$a$a; done`)
	w.Cgroups, w.Limits = keeper(t, l), l
	var exit *procworker.ExitError
	if err := serve(t, w).end(); !errors.As(err, &exit) || !exit.OOMKilled || !strings.Contains(err.Error(), "out of memory") {
		t.Errorf("Serve = %v, want one that is told as out of memory", err)
	}
}

func TestCgroupPIDsLimit(t *testing.T) {
	t.Parallel()
	l := procworker.Limits{PIDs: 20}
	w := asChild(t, "bomb")
	w.Cgroups, w.Limits = keeper(t, l), l
	m := mark(t, w)
	s := serve(t, w).awaitReady()
	if n := len(alive(m)); n > 20 {
		t.Errorf("%d processes, want 20 at most", n)
	}
	w.Kill()
	_ = s.end()
	if left := alive(m); len(left) > 0 {
		t.Errorf("alive after Serve: %v", left)
	}
}

func BenchmarkServeInCgroup(b *testing.B) {
	c := cgroups(b)
	for name, w := range map[string]*procworker.Worker{
		"plain":  {Command: []string{"/bin/true"}},
		"limits": {Command: []string{"/bin/true"}, Limits: procworker.Limits{NoFile: 100, NProc: 1000}},
		"cgroup": {Command: []string{"/bin/true"}, Cgroups: c},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if err := w.Serve(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
