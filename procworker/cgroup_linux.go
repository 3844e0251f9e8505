package procworker

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// mainLeaf is the cgroup, below one of ours, for the process itself: only one
// without processes of its own may give controllers to those below it.
const mainLeaf = "main"

// Cgroups is a place in the cgroup v2 hierarchy below which each child of a
// [Worker] gets a cgroup of its own, see cgroups(7). What is in a cgroup does
// not get out by forking, changing its session, group, parent, user or
// environment, and the kernel kills all of it at once.
type Cgroups struct {
	dir         string
	controllers []string // that are to be had below it
}

// OpenCgroups makes a place of that name below this process's own cgroup. What
// is there under the name already, such as the children of a program that was
// killed, is killed and removed: the name belongs to one process at a time.
//
// It takes Linux 5.14, and a cgroup in which this process may make others: it
// is root, or was given the cgroup, as a service of systemd with Delegate=yes
// is. The error says what is missing. Where this process is alone in its
// cgroup, it moves into one named "main" below it if that is what it takes for
// [Limits].Memory and PIDs.
func OpenCgroups(name string) (*Cgroups, error) {
	c, err := openCgroups(name)
	if err != nil {
		return nil, fmt.Errorf("use cgroups: %w", err)
	}
	return c, nil
}

func openCgroups(name string) (*Cgroups, error) {
	if _, _, errno := unix.Syscall(unix.SYS_CLONE3, 0, 0, 0); errno == unix.ENOSYS || errno == unix.EPERM {
		return nil, os.NewSyscallError("clone3", errno)
	}
	base, err := ownCgroup()
	if err != nil {
		return nil, err
	}
	if err := checkDelegated(base); err != nil {
		return nil, err
	}
	return openCgroupsIn(base, name)
}

// openCgroupsIn makes a place in any cgroup.
func openCgroupsIn(base, name string) (*Cgroups, error) {
	c := &Cgroups{dir: filepath.Join(base, name)}
	if err := KillCgroup(c.dir); err != nil {
		return nil, err
	}
	if err := os.Mkdir(c.dir, 0o755); err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(c.dir, "cgroup.kill")); err != nil {
		_ = os.Remove(c.dir)
		return nil, fmt.Errorf("%w; it needs Linux 5.14", err)
	}
	enableControllers(base)
	c.controllers = enableControllers(c.dir)
	return c, nil
}

// Path returns the directory, for a process that is to kill what is in it when
// this one is gone: see [KillCgroup].
func (c *Cgroups) Path() string { return c.dir }

// Close kills all that is in it, and removes it.
func (c *Cgroups) Close() error { return KillCgroup(c.dir) }

// Supports returns nil if l can be kept by a cgroup here, and otherwise a
// [*LimitsError].
func (c *Cgroups) Supports(l Limits) error {
	for _, need := range []struct {
		set        bool
		controller string
	}{{l.Memory != 0, "memory"}, {l.PIDs != 0, "pids"}} {
		if need.set && (c == nil || !slices.Contains(c.controllers, need.controller)) {
			return &LimitsError{need.controller, errNoController}
		}
	}
	return nil
}

// A Cgroup is the one of a child.
type Cgroup struct {
	dir  string
	main *os.File
}

// Create makes a cgroup that keeps l's Memory and PIDs. The name begins its
// directory's.
func (c *Cgroups) Create(name string, l Limits) (*Cgroup, error) {
	if err := c.Supports(l); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(c.dir, cgroupName(name)+"-")
	if err != nil {
		return nil, err
	}
	g := &Cgroup{dir: dir}
	if err := g.setUp(l); err != nil {
		return nil, errors.Join(err, g.Close())
	}
	return g, nil
}

func (g *Cgroup) setUp(l Limits) error {
	for _, limit := range []struct {
		file  string
		value int64
	}{{"memory.max", l.Memory}, {"pids.max", l.PIDs}} {
		if limit.value != 0 {
			if err := writeCgroup(g.dir, limit.file, strconv.FormatInt(max(limit.value, 0), 10)); err != nil {
				return err
			}
		}
	}
	main := filepath.Join(g.dir, mainLeaf)
	if err := os.Mkdir(main, 0o755); err != nil {
		return err
	}
	var err error
	g.main, err = os.Open(main)
	return err
}

// cgroupName makes of any text one that may begin a cgroup's name.
func cgroupName(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '-', r == '_':
			return r
		}
		return '_'
	}, text[:min(len(text), 100)])
}

// FD is what a child is started with to be in it: see CgroupFD of
// [syscall.SysProcAttr].
func (g *Cgroup) FD() int { return int(g.main.Fd()) }

// Path returns its directory.
func (g *Cgroup) Path() string { return g.dir }

// Kill sends SIGKILL to all that is in it. A process whose main thread has ended
// is spared until Close.
func (g *Cgroup) Kill() error { return writeCgroup(g.dir, "cgroup.kill", "1") }

// OOMKills tells how many processes in it were killed because it had no memory
// left below its limit.
func (g *Cgroup) OOMKills() int {
	return cgroupValue(g.dir, "memory.events", "oom_kill")
}

// Close kills all that is in it, returns when they are dead, and removes it.
func (g *Cgroup) Close() error {
	if g.main != nil {
		_ = g.main.Close()
		g.main = nil
	}
	return KillCgroup(g.dir)
}

// cgroupTimeout is how long the dead of a cgroup may take.
const cgroupTimeout = 10 * time.Second

// KillCgroup kills all that is in a cgroup and in those below it, returns when
// they are dead, and removes it with those below. One that does not exist is no
// error.
func KillCgroup(dir string) error {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := empty(dir); err != nil {
		return err
	}
	return removeCgroup(dir)
}

// cgroupMoment is how long cgroup.kill may take before we look whom it has
// spared.
const cgroupMoment = 50 * time.Millisecond

// empty kills all that is in a cgroup and returns when they are dead.
func empty(dir string) error {
	if err := writeCgroup(dir, "cgroup.kill", "1"); err != nil {
		return err
	}
	events, err := os.Open(filepath.Join(dir, "cgroup.events"))
	if err != nil {
		return err
	}
	defer events.Close()
	deadline := time.Now().Add(cgroupTimeout)
	for asked := time.Now(); cgroupValueOf(events, "populated") != 0; {
		if time.Now().After(deadline) {
			return fmt.Errorf("cgroup %s: a process does not die within %v", dir, cgroupTimeout)
		}
		if time.Since(asked) >= cgroupMoment {
			killSpared(dir)
			_ = writeCgroup(dir, "cgroup.kill", "1") // for what those have started
			asked = time.Now()
		}
		// The file "changes" when populated does, see cgroups(7).
		_, _ = unix.Poll([]unix.PollFd{{Fd: int32(events.Fd()), Events: unix.POLLPRI}}, int(cgroupMoment.Milliseconds()))
	}
	return nil
}

// killSpared kills the processes in a cgroup one by one: cgroup.kill sends its
// signal to the main thread of each alone, which does nothing to one whose main
// thread has ended (__cgroup_kill in kernel/cgroup/cgroup.c).
func killSpared(dir string) {
	_ = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			for _, pid := range cgroupMembers(path) {
				if h, err := open(pid, func(stat) bool { return slices.Contains(cgroupMembers(path), pid) }); err == nil {
					handles{h}.kill()
					handles{h}.close()
				}
			}
		}
		return nil
	})
}

// cgroupMembers returns the processes in a cgroup itself.
func cgroupMembers(dir string) []int {
	pids, _ := readNumbers(filepath.Join(dir, "cgroup.procs"), nil)
	return pids
}

// removeCgroup removes an empty cgroup, those below it first.
func removeCgroup(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return ignoreNotExist(err)
	}
	for _, entry := range entries {
		if entry.IsDir() {
			if err := removeCgroup(filepath.Join(dir, entry.Name())); err != nil {
				return err
			}
		}
	}
	return ignoreNotExist(unixRmdir(dir))
}

// unixRmdir removes a cgroup. Just after its last process has died the kernel
// may still be busy with it, and nothing tells when it no longer is.
func unixRmdir(dir string) error {
	var err error
	for range 1000 {
		if err = unix.Rmdir(dir); !errors.Is(err, unix.EBUSY) {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if err != nil {
		return &os.PathError{Op: "rmdir", Path: dir, Err: err}
	}
	return nil
}

func ignoreNotExist(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func writeCgroup(dir, file, text string) error {
	f, err := os.OpenFile(filepath.Join(dir, file), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// cgroupValue returns a number of a file of lines "key number"; 0 if there is
// none.
func cgroupValue(dir, file, key string) int {
	f, err := os.Open(filepath.Join(dir, file))
	if err != nil {
		return 0
	}
	defer f.Close()
	return cgroupValueOf(f, key)
}

func cgroupValueOf(f *os.File, key string) int {
	buf := make([]byte, 4096)
	n, _ := f.ReadAt(buf, 0) // a new look: seek is not enough for a poll to rest
	for line := range strings.Lines(string(buf[:max(n, 0)])) {
		if value, ok := strings.CutPrefix(line, key+" "); ok {
			number, _ := strconv.Atoi(strings.TrimSpace(value))
			return number
		}
	}
	return 0
}
