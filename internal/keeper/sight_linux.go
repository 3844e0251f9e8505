package keeper

import (
	"bytes"
	"os"
	"strconv"
)

// A sighting is a process as one look at /proc shows it.
type sighting struct {
	pid, parent, group int
	state              byte
	kernel             bool   // a thread of the kernel's
	bare               bool   // was executed with an empty environment
	start              string // with pid, the name of a process that is never used again
	carries            bool   // has the cookie
	unclear            bool   // is on its way from one program to the next: look again
}

func (s sighting) dead() bool { return s.state == 'Z' || s.state == 'X' }

// stopped reports whether it cannot start others.
func (s sighting) stopped() bool { return s.dead() || s.state == 'T' || s.state == 't' }

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
				s.carries, s.unclear = search(pid, cookie)
			}
			all = append(all, s)
		}
	}
	return all, nil
}

// Fields of /proc/PID/stat after the name, proc_pid_stat(5), counted from 0.
const (
	fieldState  = 0
	fieldParent = 1
	fieldGroup  = 2
	fieldFlags  = 6
	fieldStart  = 19

	fieldEnvStart = 47
	fieldEnvEnd   = 48

	kernelThread = 0x0020_0000 // PF_KTHREAD of linux/sched.h
)

// see reads what /proc/PID/stat tells.
func see(pid int) (s sighting, ok bool) {
	text, err := os.ReadFile(procFile(pid, "stat"))
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
		pid:    pid,
		parent: number(fieldParent),
		group:  number(fieldGroup),
		state:  fields[fieldState][0],
		kernel: number(fieldFlags)&kernelThread != 0,
		start:  string(fields[fieldStart]),
		bare:   isBare(string(fields[fieldEnvStart]), string(fields[fieldEnvEnd])),
	}, true
}

// isBare reports whether an environment that is there is empty. While a program is
// being executed its end is still 0; its arguments may be there before it.
func isBare(start, end string) bool { return start == end && end != "0" }

// search looks for the cookie. A process that is executing another program has
// no environment for a moment, and one that is exiting has none any more.
func search(pid int, cookie string) (found, unclear bool) {
	environ, err := os.ReadFile(procFile(pid, "environ"))
	if err != nil {
		return false, false // it is gone, or another user's
	}
	if len(environ) > 0 {
		return carries(string(environ), cookie), false
	}
	s, ok := see(pid)
	return false, ok && !s.dead() && !s.bare
}
