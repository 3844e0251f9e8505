package procworker

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// tree makes files below a directory, with what is in them.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func content(t *testing.T, path ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestCgroupValue(t *testing.T) {
	t.Parallel()
	dir := tree(t, map[string]string{"memory.events": "low 0\noom_kill 12\noom 3\nodd x\n"})
	for key, want := range map[string]int{"oom_kill": 12, "oom": 3, "kill": 0, "none": 0, "odd": 0} {
		if got := cgroupValue(dir, "memory.events", key); got != want {
			t.Errorf("%s is %d, want %d", key, got, want)
		}
	}
	if got := cgroupValue(dir, "none", "oom"); got != 0 {
		t.Errorf("a file that is not there has %d", got)
	}
	if got := (&Cgroup{dir: dir}).OOMKills(); got != 12 {
		t.Errorf("OOMKills = %d, want 12", got)
	}
}

// Only who is alone in its cgroup may move: others are not ours to count as gone.
func TestMoveToLeaf(t *testing.T) {
	t.Parallel()
	self := strconv.Itoa(os.Getpid())
	for name, test := range map[string]struct {
		files map[string]string
		want  string // in the leaf's cgroup.procs; empty: an error
	}{
		"alone":          {map[string]string{"cgroup.procs": self + "\n", "main/cgroup.procs": ""}, self},
		"with others":    {map[string]string{"cgroup.procs": self + "\n1\n", "main/cgroup.procs": ""}, ""},
		"somewhere else": {map[string]string{"cgroup.procs": "", "main/cgroup.procs": ""}, ""},
		"no cgroup":      {nil, ""},
		"a leaf of none": {map[string]string{"cgroup.procs": self}, ""},
		"no leaf":        {map[string]string{"cgroup.procs": self, "main": "a file"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := tree(t, test.files)
			if err := moveToLeaf(dir); (err == nil) != (test.want != "") {
				t.Errorf("moveToLeaf = %v", err)
			}
			if _, ok := test.files["main/cgroup.procs"]; ok {
				if got := content(t, dir, "main/cgroup.procs"); got != test.want {
					t.Errorf("moved %q, want %q", got, test.want)
				}
			}
		})
	}
}

func TestEnableControllers(t *testing.T) {
	t.Parallel()
	dir := tree(t, map[string]string{"cgroup.subtree_control": ""})
	if got := enableControllers(dir); !slices.Equal(got, []string{"memory", "pids"}) {
		t.Errorf("enabled %q", got)
	}
	if got := enableControllers(t.TempDir()); len(got) > 0 {
		t.Errorf("where there are none: enabled %q", got)
	}
}

func TestIsDelegated(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]bool{"": false, "0": false, "1": true} {
		dir := t.TempDir()
		if value != "" {
			if err := unix.Setxattr(dir, "user.delegate", []byte(value), 0); errors.Is(err, unix.ENOTSUP) {
				t.Skip("the file system of temporary files has no attributes of users")
			} else if err != nil {
				t.Fatal(err)
			}
		}
		if got := isDelegated(dir); got != want {
			t.Errorf("with %q: %v, want %v", value, got, want)
		}
	}
}

// A directory that is no cgroup is refused, and nothing of it is removed.
func TestKillCgroupOfNone(t *testing.T) {
	t.Parallel()
	if err := KillCgroup(filepath.Join(t.TempDir(), "none")); err != nil {
		t.Errorf("one that is gone: %v", err)
	}
	for name, test := range map[string]struct {
		files map[string]string
		want  error
	}{
		"no kill":       {map[string]string{"below/file": ""}, fs.ErrNotExist},
		"no events":     {map[string]string{"cgroup.kill": "", "below/file": ""}, fs.ErrNotExist},
		"other files":   {map[string]string{"cgroup.kill": "", "cgroup.events": "populated 0\n"}, unix.ENOTEMPTY},
		"and below too": {map[string]string{"cgroup.kill": "", "cgroup.events": "populated 0\n", "below/file": ""}, unix.ENOTEMPTY},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := tree(t, test.files)
			if err := KillCgroup(dir); !errors.Is(err, test.want) {
				t.Errorf("KillCgroup = %v, want %v", err, test.want)
			}
			for file := range test.files {
				if text := content(t, dir, file); file == "cgroup.kill" && test.files["cgroup.kill"] == "" && text != "1" {
					t.Errorf("cgroup.kill got %q", text)
				}
			}
		})
	}
}

func TestOpenCgroupsWhereThereAreNone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := openCgroupsIn(dir, "place"); err == nil || !strings.Contains(err.Error(), "Linux 5.14") {
		t.Errorf("in no cgroup: %v", err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
	if _, err := openCgroupsIn(filepath.Join(dir, "none"), "place"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("in what is not there: %v", err)
	}
	full := tree(t, map[string]string{"place/file": ""})
	if _, err := openCgroupsIn(full, "place"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("with a directory that is no cgroup in its place: %v", err)
	}
	content(t, full, "place/file")
}

// A limit that the kernel does not take is no child's cgroup.
func TestCreateWithALimitThatIsRefused(t *testing.T) {
	t.Parallel()
	c := &Cgroups{dir: t.TempDir(), controllers: []string{"memory"}}
	if _, err := c.Create("a/b", Limits{Memory: 1}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without memory.max: %v", err)
	}
	var limit *LimitsError
	if _, err := c.Create("a", Limits{PIDs: 1}); !errors.As(err, &limit) || limit.Limit != "pids" {
		t.Errorf("without a controller: %v", err)
	}
	if _, err := (&Cgroups{dir: "/no/such/place"}).Create("a", Limits{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nowhere: %v", err)
	}
}
