package keeper

import (
	"bytes"
	"errors"
	"io/fs"
	"iter"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// A sighting is a process as one look at /proc shows it.
type sighting struct {
	pid, parent, group int
	state              byte // of a thread that lives, if there is one
	threads            int  // of it
	kernel             bool // a thread of the kernel's
	memory             memory
	dir                string // in /proc, of the thread that tells about it
	start              string // with pid, the name of a process that is never used again
	carries            bool   // has the cookie
	unclear            bool   // is on its way to another program, or to its end: look again
}

// A memory tells where in a process's memory its program is.
type memory struct{ code, stack, envStart, envEnd string }

// settled reports whether all of a program is there. While it is being executed,
// where its code begins is told after its environment is whole (load_elf_binary
// in fs/binfmt_elf.c).
func (m memory) settled() bool { return m.code != "0" }

func (s sighting) dead() bool { return s.state == 'Z' || s.state == 'X' }

// stopped reports whether it cannot start others: whether none of its threads
// runs.
func (s sighting) stopped() bool {
	if s.dead() || s.threads < 2 {
		return s.dead() || s.halted()
	}
	halted := 0
	for thread := range threads(s.pid) {
		switch {
		case thread.halted():
			halted++
		case !thread.dead():
			return false
		}
	}
	return halted > 0 // or they come and end faster than they can be read about
}

func (s sighting) halted() bool { return s.state == 'T' || s.state == 't' }

// key names a process even when its number is used again.
func (s sighting) key() string { return strconv.Itoa(s.pid) + "@" + s.start }

func procFile(pid int, name string) string { return "/proc/" + strconv.Itoa(pid) + "/" + name }

// look returns all processes but this one, and calls a function for each one that
// carries the cookie, as soon as it sees it. Gone are those that had ended when it
// was their turn: what they had started may not be among the others.
func look(cookie string, onSight func(sighting)) (all []sighting, gone []int, err error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, nil, err
	}
	self := os.Getpid()
	all = make([]sighting, 0, len(names))
	for _, name := range slices.Backward(names) { // the newest first, before they can flee
		pid, err := strconv.Atoi(name)
		if err != nil || pid == self {
			continue
		}
		s, err := see(pid)
		switch {
		case err == nil && !s.dead():
		case err == nil || isGone(err):
			gone = append(gone, pid)
		default:
			s.unclear = true
		}
		if isGone(err) {
			continue
		}
		if err == nil && !s.kernel && !s.dead() {
			s.carries, s.unclear = search(s, cookie)
			if s.carries {
				onSight(s)
			}
		}
		all = append(all, s)
	}
	return all, gone, nil
}

// Fields of /proc/PID/stat after the name, proc_pid_stat(5), counted from 0.
const (
	fieldState    = 0
	fieldParent   = 1
	fieldGroup    = 2
	fieldFlags    = 6
	fieldThreads  = 17
	fieldStart    = 19
	fieldCode     = 23
	fieldStack    = 25
	fieldEnvStart = 47
	fieldEnvEnd   = 48

	kernelThread = 0x0020_0000 // PF_KTHREAD of linux/sched.h
)

// see tells about a process. One whose main thread has ended looks like a
// zombie, but lives: another thread tells about it. If those come and end faster
// than they can be read about, it is running.
func see(pid int) (sighting, error) {
	s, err := seeIn(pid, procFile(pid, ""))
	if err != nil || !s.dead() || s.threads < 2 {
		return s, err
	}
	for thread := range threads(pid) {
		if !thread.dead() {
			thread.start = s.start
			return thread, nil
		}
	}
	if s, err = seeIn(pid, procFile(pid, "")); s.threads > 1 {
		s.state = 'R'
	}
	return s, err
}

// isGone reports whether an error of a file in /proc says that its process is not
// there, or hidden from us (hidepid, proc(5)). Others come from a want of
// descriptors or memory, and tell nothing.
func isGone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.ESRCH)
}

// threads tells about the threads of a process.
func threads(pid int) iter.Seq[sighting] {
	return func(yield func(sighting) bool) {
		tasks, _ := os.ReadDir(procFile(pid, "task"))
		for _, task := range tasks {
			thread, err := seeIn(pid, procFile(pid, "task/"+task.Name()+"/"))
			if err == nil && !yield(thread) {
				return
			}
		}
	}
}

// seeIn reads what the file stat in that folder of /proc tells.
func seeIn(pid int, dir string) (s sighting, err error) {
	s.pid = pid
	text, err := os.ReadFile(dir + "stat")
	if err != nil {
		return s, err
	}
	// The name, in parentheses, may hold anything.
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) <= fieldEnvEnd {
		return s, fs.ErrNotExist // such as a file without text of one that has ended
	}
	number := func(field int) int {
		n, _ := strconv.Atoi(string(fields[field]))
		return n
	}
	return sighting{
		pid:     pid,
		dir:     dir,
		parent:  number(fieldParent),
		group:   number(fieldGroup),
		state:   fields[fieldState][0],
		threads: number(fieldThreads),
		kernel:  number(fieldFlags)&kernelThread != 0,
		start:   string(fields[fieldStart]),
		memory: memory{
			code: string(fields[fieldCode]), stack: string(fields[fieldStack]),
			envStart: string(fields[fieldEnvStart]), envEnd: string(fields[fieldEnvEnd]),
		},
	}, nil
}

// search looks for the cookie. Where it is not, not all may have been there to be
// read: the process may be on its way from one program to the next, or to its end
// (Linux 6.18 says ESRCH then, as if it were gone already).
func search(s sighting, cookie string) (found, unclear bool) {
	environ, err := os.ReadFile(s.dir + "environ")
	if carries(string(environ), cookie) {
		return true, false
	}
	if errors.Is(err, fs.ErrPermission) {
		return false, false // another user's, or as good as that
	}
	now, gone := see(s.pid)
	if gone != nil {
		return false, !isGone(gone)
	}
	return false, !now.dead() && (err != nil || now.memory != s.memory || !now.memory.settled())
}
