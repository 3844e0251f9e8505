package keeper

import (
	"bytes"
	"errors"
	"io/fs"
	"iter"
	"os"
	"strconv"
)

// A sighting is a process as one look at /proc shows it.
type sighting struct {
	pid, parent, group int
	state              byte   // of a thread that lives, if there is one
	threads            int    // of it
	kernel             bool   // a thread of the kernel's
	bare               bool   // was executed with an empty environment
	dir                string // in /proc, of the thread that tells about it
	start              string // with pid, the name of a process that is never used again
	carries            bool   // has the cookie
	unclear            bool   // is on its way from one program to the next: look again
}

func (s sighting) dead() bool { return s.state == 'Z' || s.state == 'X' }

// stopped reports whether it cannot start others: whether none of its threads
// runs.
func (s sighting) stopped() bool {
	if s.dead() || s.threads < 2 {
		return s.dead() || s.halted()
	}
	for thread := range threads(s.pid) {
		if !thread.dead() && !thread.halted() {
			return false
		}
	}
	return true
}

func (s sighting) halted() bool { return s.state == 'T' || s.state == 't' }

// key names a process even when its number is used again.
func (s sighting) key() string { return strconv.Itoa(s.pid) + "@" + s.start }

func procFile(pid int, name string) string { return "/proc/" + strconv.Itoa(pid) + "/" + name }

// look returns all processes but this one.
func look(cookie string) ([]sighting, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	self := os.Getpid()
	all := make([]sighting, 0, len(names))
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil || pid == self {
			continue
		}
		if s, ok := see(pid); ok {
			if !s.kernel && !s.dead() {
				s.carries, s.unclear = search(s, cookie)
			}
			all = append(all, s)
		}
	}
	return all, nil
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
	fieldEnvStart = 47
	fieldEnvEnd   = 48

	kernelThread = 0x0020_0000 // PF_KTHREAD of linux/sched.h
)

// see tells about a process. One whose main thread has ended looks like a
// zombie, but lives: another thread tells about it.
func see(pid int) (sighting, bool) {
	s, ok := seeIn(pid, procFile(pid, ""))
	if !ok || !s.dead() || s.threads < 2 {
		return s, ok
	}
	for thread := range threads(pid) {
		if !thread.dead() {
			thread.start = s.start
			return thread, true
		}
	}
	return s, true
}

// threads tells about the threads of a process.
func threads(pid int) iter.Seq[sighting] {
	return func(yield func(sighting) bool) {
		tasks, _ := os.ReadDir(procFile(pid, "task"))
		for _, task := range tasks {
			thread, ok := seeIn(pid, procFile(pid, "task/"+task.Name()+"/"))
			if ok && !yield(thread) {
				return
			}
		}
	}
}

// seeIn reads what the file stat in that folder of /proc tells.
func seeIn(pid int, dir string) (s sighting, ok bool) {
	text, err := os.ReadFile(dir + "stat")
	if err != nil {
		return s, false
	}
	// The name, in parentheses, may hold anything.
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) <= fieldEnvEnd {
		return s, false
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
		// While a program is being executed its environment is empty as well; where
		// its code begins is told after that (load_elf_binary in fs/binfmt_elf.c).
		bare: number(fieldCode) != 0 && bytes.Equal(fields[fieldEnvStart], fields[fieldEnvEnd]),
	}, true
}

// search looks for the cookie. A process that is executing another program has
// no environment for a moment, and one that is exiting has none any more: Linux
// 6.18 says ESRCH then, as if it were gone already.
func search(s sighting, cookie string) (found, unclear bool) {
	environ, err := os.ReadFile(s.dir + "environ")
	if len(environ) > 0 {
		return carries(string(environ), cookie), false
	}
	if errors.Is(err, fs.ErrPermission) {
		return false, false // another user's
	}
	now, ok := see(s.pid)
	return false, ok && !now.dead() && !now.bare
}
