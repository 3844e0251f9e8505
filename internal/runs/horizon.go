package runs

import "time"

// A clock tells the time, and how long this process has been measuring it,
// which no change of the time has a part in.
type clock struct {
	now     func() time.Time
	elapsed func() time.Duration
}

func newClock() clock {
	start := time.Now()
	return clock{now: time.Now, elapsed: func() time.Duration { return time.Since(start) }}
}

// clockSlack is how far the clock may be put forward, in all, before that does
// not count for the age of runs.
const clockSlack = time.Hour

// A horizon is the time by which runs get old: the clock's, but never later than
// the newest time that the file knew when it was opened, and what really passed
// since, and the slack. So a clock that jumps forward by a year does not make a
// whole history old at once. What was too short is made up for when the store is
// opened again: runs that ended meanwhile are in the file.
type horizon struct {
	clock clock
	base  time.Time
	since time.Duration
}

// start begins at the newest time that is known, or now if none is.
func (h *horizon) start(known time.Time) {
	h.base, h.since = h.clock.now(), h.clock.elapsed()
	if !known.IsZero() && known.Before(h.base) {
		h.base = known
	}
}

func (h *horizon) now() time.Time {
	now, latest := h.clock.now(), h.base.Add(h.clock.elapsed()-h.since+clockSlack)
	if now.After(latest) {
		return latest
	}
	return now
}
