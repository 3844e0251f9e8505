package procworker

import (
	"os"
	"time"
)

// A sweep looks at the orphans again and again, until a look has told all. Whom a
// look finds is killed at its end, so that none waits for the death of another.
type sweep struct {
	found    []victim
	below    handles      // of what hangs below them
	stuck    map[int]bool // those that have outlived that
	freezing time.Time    // until then this look may rest for those that do not stop

	before, now map[absence]bool // of the last look, and of this one
	again       bool             // this look may have missed somebody
	rest        bool             // somebody, or something, was unclear
	until       time.Time        // then it rests no more; zero: it has not yet
	vain        int              // looks in a row that found no orphan to kill
	end         time.Time        // from then on all looks are in vain
}

// A victim is a process that is to be killed, with all that hangs below it. All
// are stopped.
type victim struct {
	pid, parent int
	handle      handle
}

// An absence is that of a process whose children are somebody else's.
type absence struct {
	pid  int
	dead bool // a zombie; else gone, or below another parent
}

const (
	// sweepVain bounds the looks that find nobody. Where processes come and end
	// all the time, each look may have missed somebody; so many in a row have not.
	sweepVain = 100
	// sweepPatience bounds the waiting for those that are unclear. Executing a
	// program takes some moments, and the end of a large process as well.
	sweepPatience = 5 * time.Second
	// sweepTime bounds how long others may be started that are to be killed: by one
	// that does not look like it.
	sweepTime = time.Minute
	// sweepVictims bounds how many are found by one look, for each takes a
	// descriptor at least.
	sweepVictims = 64
)

func newSweep() *sweep {
	return &sweep{again: true, stuck: make(map[int]bool), end: time.Now().Add(sweepTime)}
}

// goesOn reports whether another look is needed, and when it is time for it.
func (s *sweep) goesOn() bool {
	if s.rest && s.until.IsZero() {
		s.until = time.Now().Add(sweepPatience)
	}
	switch {
	case s.rest && time.Now().Before(s.until):
		time.Sleep(time.Millisecond) // nothing tells when they have arrived
	case !s.again || s.vain >= sweepVain:
		return false
	default:
		s.vain++
	}
	s.before, s.now = s.now, make(map[absence]bool)
	s.again, s.rest = false, false
	s.freezing = time.Now().Add(freezePatience)
	return true
}

// note notes what a look has told of a process that was below that parent, if it
// is not a victim.
//
// One that has died since the list was read may have left children behind that
// are not in it. And if it was waited for, the kernel may have skipped somebody:
// it goes on behind the last entry that it has told, and has to count if that is
// not there any more (get_children_pid in fs/proc/array.c).
func (s *sweep) note(pid, parent int, v verdict) {
	s.rest = s.rest || v == unclear
	now, err := readStat(pid)
	switch {
	case err != nil && !isGone(err):
		s.rest = true
	case err != nil || now.parent != parent:
		s.miss(absence{pid: pid})
	case now.dead():
		s.miss(absence{pid: pid, dead: true})
	}
}

// miss notes an absence, which is no news if it was one at the last look: zombies
// stay, and so does who is hidden from us.
func (s *sweep) miss(a absence) {
	s.now[a] = true
	s.again = s.again || !s.before[a]
}

// look looks for a process that belongs to a child, or else for what does below
// it, such as below one that has cleared its environment since.
func (s *sweep) look(pid, parent, child int, cookie string) {
	if s.full() {
		return
	}
	v := belongs(pid, child, cookie)
	switch v {
	case prey:
		s.take(pid, parent)
		return
	case stranger:
		below, ok := children(pid)
		s.rest = s.rest || !ok
		for _, p := range below {
			s.look(p, pid, child, cookie)
		}
	}
	s.note(pid, parent, v)
}

// full reports whether the rest is for the next look.
func (s *sweep) full() bool {
	full := len(s.found) == sweepVictims
	s.again = s.again || full
	return full
}

// take makes a process a victim.
func (s *sweep) take(pid, parent int) {
	if s.full() {
		return
	}
	orphan := parent == os.Getpid()
	h, err := open(pid, func(now stat) bool { return now.parent == parent && (orphan || !now.dead()) })
	switch {
	case isGone(err):
		s.note(pid, parent, stranger)
	case err != nil:
		s.note(pid, parent, unclear)
	case s.stuck[pid]:
		handles{h}.close()
	default:
		s.found = append(s.found, victim{pid: pid, parent: parent, handle: h})
		s.below = append(s.below, freeze(pid, h.stop, s.freezing)...)
	}
}

// kill kills the victims, and reaps those that are orphans of ours; what hangs
// below them will be. One that is not dead then has become another user's, or is
// held by a disk, or by who traces it, who is told of its end first (ptrace(2)).
func (s *sweep) kill() {
	begin := time.Now()
	var all handles
	for _, v := range s.found {
		all = append(all, v.handle)
	}
	all = append(all, s.below...)
	all.kill()
	all.await()
	for _, v := range s.found {
		switch {
		case v.parent == os.Getpid() && reap(v.pid):
			s.again = true
			if begin.Before(s.end) {
				s.vain = 0
			}
		case v.handle.isDead():
			s.again = true
		default:
			s.stuck[v.pid] = v.handle.mayKill()
		}
	}
	all.close() // not before: a handle keeps others from reaping
	s.found, s.below = nil, nil
	if !s.until.IsZero() {
		s.until = s.until.Add(time.Since(begin))
	}
}
