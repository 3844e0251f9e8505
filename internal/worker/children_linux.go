package worker

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// descendants returns the processes below this one.
func descendants() []int {
	found := children(os.Getpid())
	for i := 0; i < len(found); i++ { // found grows
		found = append(found, children(found[i])...)
	}
	return found
}

// children returns the children of a process, zombies included. One that is
// forked or ends meanwhile may be missing.
func children(pid int) []int {
	dir := "/proc/" + strconv.Itoa(pid) + "/task"
	threads, err := os.ReadDir(dir)
	if err != nil {
		return nil // it is gone
	}
	var found []int
	for _, thread := range threads {
		list, err := readProc(dir + "/" + thread.Name() + "/children")
		if errors.Is(err, fs.ErrNotExist) && thread.Name() == strconv.Itoa(pid) {
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

// readProc reads a file of /proc. Every run reads a dozen of them at its end, and
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
