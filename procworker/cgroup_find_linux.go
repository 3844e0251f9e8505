package procworker

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ownCgroup returns the directory of the cgroup that is this process's to use.
func ownCgroup() (string, error) {
	membership, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	dir, err := findCgroup(string(membership), string(mounts))
	if err != nil {
		return "", err
	}
	if filepath.Base(dir) == mainLeaf {
		dir = filepath.Dir(dir) // the leaf in which a Worker, or we ourselves, have put us
	}
	return dir, nil
}

var (
	errNoCgroup2    = errors.New("no cgroup v2 hierarchy is mounted")
	errNotDelegated = errors.New("systemd has not given the cgroup to this service; set Delegate=yes")
	errNoController = errors.New("there is no cgroup that keeps it")
)

// findCgroup returns the directory of the v2 cgroup that the text of
// /proc/self/cgroup names, below the mount that that of /proc/self/mountinfo
// does: see cgroups(7), proc_pid_mountinfo(5). There may be v1 hierarchies, too.
func findCgroup(membership, mounts string) (string, error) {
	var path string
	for line := range strings.Lines(membership) {
		if p, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			path = p
		}
	}
	if path == "" || strings.HasPrefix(path, "/..") { // outside of the cgroup namespace
		return "", errNoCgroup2
	}
	for line := range strings.Lines(mounts) {
		front, back, _ := strings.Cut(line, " - ")
		fields, kind := strings.Fields(front), strings.Fields(back)
		if len(fields) < 5 || len(kind) == 0 || kind[0] != "cgroup2" {
			continue
		}
		root, point := unescapeMount(fields[3]), unescapeMount(fields[4])
		// A bind mount may show a part of the hierarchy only.
		below, err := filepath.Rel(root, path)
		if err == nil && below != ".." && !strings.HasPrefix(below, "../") {
			return filepath.Join(point, below), nil
		}
	}
	return "", errNoCgroup2
}

// unescapeMount undoes the octal escapes of mountinfo.
func unescapeMount(text string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(text)
}

// checkDelegated refuses a cgroup that belongs to systemd, even if this process
// may write in it: systemd alone changes what it has not given away, as its
// "Control Group APIs and Delegation" has it.
func checkDelegated(dir string) error {
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		return nil // it does not run here
	}
	// With a cgroup all below it is given, where a process that has one from a
	// [Worker] is.
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if isDelegated(dir) {
			return nil
		}
	}
	return errNotDelegated
}

// isDelegated looks for the mark that systemd sets.
func isDelegated(dir string) bool {
	value := make([]byte, 8)
	for _, attr := range []string{"user.delegate", "trusted.delegate"} {
		if n, err := unix.Getxattr(dir, attr, value); err == nil && string(value[:n]) == "1" {
			return true
		}
	}
	return false
}

// enableControllers gives those that [Limits] needs to the cgroups below one,
// as far as they are to be had, and returns which these are. Who is alone in
// its cgroup makes room for them.
func enableControllers(dir string) (enabled []string) {
	for _, name := range []string{"memory", "pids"} {
		err := writeCgroup(dir, "cgroup.subtree_control", "+"+name)
		if errors.Is(err, unix.EBUSY) && moveToLeaf(dir) == nil {
			err = writeCgroup(dir, "cgroup.subtree_control", "+"+name)
		}
		if err == nil {
			enabled = append(enabled, name)
		}
	}
	return enabled
}

// moveToLeaf moves this process out of a cgroup in which it is alone.
func moveToLeaf(dir string) error {
	self := strconv.Itoa(os.Getpid())
	procs, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return err
	}
	if !slices.Equal(strings.Fields(string(bytes.TrimSpace(procs))), []string{self}) {
		return fmt.Errorf("cgroup %s has other processes", dir)
	}
	leaf := filepath.Join(dir, mainLeaf)
	if err := os.Mkdir(leaf, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return writeCgroup(leaf, "cgroup.procs", self)
}
