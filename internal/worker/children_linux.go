package worker

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// descendants returns the processes below this one, whose commands are started
// by that thread.
func descendants(thread int) []int {
	found := ownChildren(thread)
	for i := 0; i < len(found); i++ { // found grows
		found = append(found, children(found[i])...)
	}
	return found
}

// ownChildren returns the children of this process as children does. The kernel
// gives orphans to the main thread and all others to the thread that has
// forked them, so that not every thread needs to be asked, at the end of every
// run.
func ownChildren(thread int) []int {
	main := os.Getpid()
	if thread == main {
		return childrenOf(main, main)
	}
	return childrenOf(main, main, thread)
}

// children returns the children of a process, zombies included. One that is
// forked or ends meanwhile may be missing.
func children(pid int) []int {
	entries, err := os.ReadDir("/proc/" + strconv.Itoa(pid) + "/task")
	if err != nil {
		return nil // it is gone
	}
	threads := make([]int, 0, len(entries))
	for _, entry := range entries {
		if thread, err := strconv.Atoi(entry.Name()); err == nil {
			threads = append(threads, thread)
		}
	}
	return childrenOf(pid, threads...)
}

// childrenOf returns the children of some threads of a process.
func childrenOf(pid int, threads ...int) (found []int) {
	for _, thread := range threads {
		list, err := readProc("/proc/" + strconv.Itoa(pid) + "/task/" + strconv.Itoa(thread) + "/children")
		if errors.Is(err, fs.ErrNotExist) && thread == pid {
			return childrenByParent(pid) // a kernel without CONFIG_PROC_CHILDREN
		}
		for _, field := range bytes.Fields(list) {
			if child, err := strconv.Atoi(string(field)); err == nil {
				found = append(found, child)
			}
		}
	}
	return found
}

// readProc reads a file of /proc. Every run reads some of them at its end, and
// os.ReadFile asks the kernel three times as much, for its poller.
func readProc(path string) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	var text []byte
	buf := make([]byte, 4096)
	for {
		n, err := unix.Read(fd, buf)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return nil, &fs.PathError{Op: "read", Path: path, Err: err}
		case n == 0:
			return text, nil
		default:
			text = append(text, buf[:n]...)
		}
	}
}

// childrenByParent returns the processes whose parent is pid, as
// proc_pid_stat(5) tells it.
func childrenByParent(pid int) []int {
	all, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	parent := strconv.Itoa(pid)
	var found []int
	for _, entry := range all {
		child, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + entry.Name() + "/stat")
		if err != nil {
			continue
		}
		// "PID (NAME) STATE PARENT ...": the name may hold anything.
		fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		if len(fields) > 1 && string(fields[1]) == parent {
			found = append(found, child)
		}
	}
	return found
}
