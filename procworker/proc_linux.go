package procworker

import (
	"bytes"
	"errors"
	"io/fs"
	"iter"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

func procPath(pid int, name string) string {
	return "/proc/" + strconv.Itoa(pid) + "/" + name
}

// orphansFile lists the children of the main thread. The kernel gives orphans
// to the first thread of the subreaper that is not exiting
// (find_alive_thread in kernel/exit.c), and Go's main thread never exits.
func orphansFile() string {
	return threadFile(os.Getpid())
}

// threadFile lists the children of a thread of this process.
func threadFile(thread int) string {
	return "/proc/self/task/" + strconv.Itoa(thread) + "/children"
}

// orphans returns the children among which the orphans are: those of the main
// thread, and those of the threads that start children which are none of ours.
// A child gives us children of its own with CLONE_PARENT (clone(2)). When such a
// one ends, its children go to the main thread: so that comes last.
func orphans() (pids []int, ok bool) {
	ok = true
	forkers.Range(func(thread, _ any) bool {
		list, err := readNumbers(threadFile(thread.(int)), nil)
		ok = ok && (err == nil || isGone(err))
		for _, pid := range list {
			if _, ours := started.Load(pid); !ours {
				pids = append(pids, pid)
			}
		}
		return true
	})
	pids, err := readNumbers(orphansFile(), pids)
	return pids, ok && (err == nil || isGone(err))
}

// readNumbers appends the numbers in a file to pids.
func readNumbers(file string, pids []int) ([]int, error) {
	text, err := os.ReadFile(file)
	for field := range bytes.FieldsSeq(text) {
		if pid, err := strconv.Atoi(string(field)); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids, err
}

// children returns the children of all threads of a process; of one that is
// gone there are none. It is not ok if there may be others.
func children(pid int) (pids []int, ok bool) {
	tasks, err := os.ReadDir(procPath(pid, "task"))
	ok = err == nil || isGone(err)
	read := func(thread string) {
		pids, err = readNumbers(procPath(pid, "task/"+thread+"/children"), pids)
		ok = ok && (err == nil || isGone(err))
	}
	main := strconv.Itoa(pid)
	for _, task := range tasks {
		if task.Name() != main {
			read(task.Name())
		}
	}
	read(main) // last: the children of a thread that ends meanwhile go to it
	return pids, ok
}

// isGone reports whether an error of a file in /proc, or of pidfd_open(2), says
// that its process is not there, or out of our reach: hidepid=1 says that it is not
// permitted, hidepid=2 that it is not there (proc(5)), and a kernel or a sandbox
// may have no pidfds. Others come from a want of descriptors or memory, and tell
// nothing.
func isGone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) ||
		errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOSYS)
}

// Fields of /proc/PID/stat, proc_pid_stat(5), counted from the state as 0.
const (
	fieldState    = 0
	fieldParent   = 1
	fieldGroup    = 2
	fieldThreads  = 17
	fieldCode     = 23
	fieldStack    = 25
	fieldEnvStart = 47
	fieldEnvEnd   = 48
)

// A stat is what we need of /proc/PID/stat.
type stat struct {
	state         byte // of a thread that lives, if there is one
	parent, group int
	threads       int
	dir           string // in /proc, of the thread that tells about the process
	memory        memory
}

// A memory tells where in a process's memory its program is.
type memory struct{ code, stack, envStart, envEnd string }

// settled reports whether all of a program is there. While it is being executed,
// where its code begins is told after its environment is whole (load_elf_binary
// in fs/binfmt_elf.c).
func (m memory) settled() bool { return m.code != "0" }

func (s stat) dead() bool    { return s.state == 'Z' || s.state == 'X' }
func (s stat) stopped() bool { return s.state == 'T' || s.state == 't' }

// readStat tells about a process. One whose main thread has ended looks like a
// zombie, but lives: another thread tells about it. If those come and end faster
// than they can be read about, it is running.
func readStat(pid int) (stat, error) {
	s, err := parseStat(procPath(pid, ""))
	if err != nil || !s.dead() || s.threads < 2 {
		return s, err
	}
	for thread := range threads(pid) {
		if !thread.dead() {
			return thread, nil
		}
	}
	s, err = parseStat(procPath(pid, ""))
	if s.threads > 1 {
		s.state = 'R'
	}
	return s, err
}

// threads reads about the threads of a process.
func threads(pid int) iter.Seq[stat] {
	return func(yield func(stat) bool) {
		tasks, _ := os.ReadDir(procPath(pid, "task"))
		for _, task := range tasks {
			s, err := parseStat(procPath(pid, "task/"+task.Name()+"/"))
			if err == nil && !yield(s) {
				return
			}
		}
	}
}

// parseStat reads the file stat in that folder of /proc.
func parseStat(dir string) (stat, error) {
	text, err := os.ReadFile(dir + "stat")
	if err != nil {
		return stat{}, err
	}
	// The name, in parentheses, may hold anything.
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) <= fieldEnvEnd {
		return stat{}, errors.New("strange " + dir + "stat")
	}
	number := func(field int) int {
		n, _ := strconv.Atoi(string(fields[field]))
		return n
	}
	return stat{
		state:   fields[fieldState][0],
		parent:  number(fieldParent),
		group:   number(fieldGroup),
		threads: number(fieldThreads),
		dir:     dir,
		memory: memory{
			code: string(fields[fieldCode]), stack: string(fields[fieldStack]),
			envStart: string(fields[fieldEnvStart]), envEnd: string(fields[fieldEnvEnd]),
		},
	}, nil
}
