package procworker

import (
	"bytes"
	"errors"
	"iter"
	"os"
	"slices"
	"strconv"
	"syscall"
	"time"

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
// A child gives us children of its own with CLONE_PARENT (clone(2)).
func orphans() []int {
	pids := readNumbers(orphansFile(), nil)
	forkers.Range(func(thread, _ any) bool {
		for _, pid := range readNumbers(threadFile(thread.(int)), nil) {
			if _, ours := started.Load(pid); !ours {
				pids = append(pids, pid)
			}
		}
		return true
	})
	return pids
}

// readNumbers appends the numbers in a file to pids.
func readNumbers(file string, pids []int) []int {
	text, _ := os.ReadFile(file)
	for field := range bytes.FieldsSeq(text) {
		if pid, err := strconv.Atoi(string(field)); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// children returns the children of all threads of a process.
func children(pid int) (pids []int) {
	tasks, _ := os.ReadDir(procPath(pid, "task"))
	for _, task := range tasks {
		pids = readNumbers(procPath(pid, "task/"+task.Name()+"/children"), pids)
	}
	return pids
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

// A handle is a pidfd: whatever is done through it cannot hit a process that
// has got the number of a dead one.
type handle int

// open returns a handle of a process that still fits.
func open(pid int, fits func(stat) bool) (handle, bool) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return 0, false
	}
	if s, err := readStat(pid); err != nil || !fits(s) {
		_ = unix.Close(fd)
		return 0, false
	}
	return handle(fd), true
}

// mayKill reports whether this process may signal it: not if it has become
// another user, as what sudo starts has.
func (h handle) mayKill() bool {
	return !errors.Is(unix.PidfdSendSignal(int(h), 0, nil, 0), unix.EPERM)
}

// kill kills the process, returns when it is dead, and closes the handle. It
// does not wait for one that it may not kill.
func (h handle) kill() {
	err := unix.PidfdSendSignal(int(h), unix.SIGKILL, nil, 0)
	for err == nil {
		if _, err := unix.Poll([]unix.PollFd{{Fd: int32(h), Events: unix.POLLIN}}, -1); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	_ = unix.Close(int(h))
}

// freezeTries bounds, in milliseconds, how long a process may take to stop.
const freezeTries = 200

// A freezer stops processes and keeps handles of them.
type freezer struct {
	below  []handle // children after their parents
	seen   map[int]bool
	moving bool // somebody was still running at the last look
}

// freeze stops a process and all that hangs below it, and returns handles of
// the latter, for killAll. What is not stopped can start more between the look
// and the kill; that would then hang below nobody.
func freeze(pid int) (below []handle) {
	stops := syscall.Kill(pid, syscall.SIGSTOP) == nil
	f := freezer{seen: make(map[int]bool)}
	for range freezeTries {
		f.moving = stops && moves(pid)
		f.look(pid)
		if !f.moving {
			break
		}
		time.Sleep(time.Millisecond) // nothing tells when they have stopped
	}
	return f.below
}

func (f *freezer) look(pid int) {
	for _, child := range children(pid) {
		stops, seen := f.seen[child]
		if !seen {
			h, ok := open(child, func(s stat) bool { return s.parent == pid })
			if !ok {
				continue
			}
			stops = unix.PidfdSendSignal(int(h), unix.SIGSTOP, nil, 0) == nil
			f.seen[child] = stops
			f.below = append(f.below, h)
		}
		f.moving = f.moving || stops && moves(child)
		f.look(child)
	}
}

// moves reports whether a process can start others: whether one of its threads
// is not stopped.
func moves(pid int) bool {
	s, err := readStat(pid)
	if err != nil || s.dead() {
		return false
	}
	if s.threads < 2 {
		return !s.stopped()
	}
	halted := 0
	for thread := range threads(pid) {
		switch {
		case thread.stopped():
			halted++
		case !thread.dead():
			return true
		}
	}
	return halted == 0 // they come and end faster than they can be read about
}

// killAll kills what freeze has returned. Children go first: the kernel would
// wake a stopped group that is left without a parent.
func killAll(below []handle) {
	for _, h := range slices.Backward(below) {
		h.kill()
	}
}

// awaitGroup returns when no member of a killed group is alive. Nearly always
// the first look tells.
func awaitGroup(group int) {
	for syscall.Kill(-group, 0) == nil {
		member, ok := findMember(group)
		if !ok {
			return // only zombies are left, and those that we may not kill
		}
		member.kill()
	}
}

func findMember(group int) (handle, bool) {
	entries, _ := os.ReadDir("/proc")
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		inGroup := func(s stat) bool { return s.group == group && !s.dead() }
		if s, err := readStat(pid); err != nil || !inGroup(s) {
			continue
		}
		if h, ok := open(pid, inGroup); ok {
			if h.mayKill() {
				return h, true
			}
			_ = unix.Close(int(h))
		}
	}
	return 0, false
}
