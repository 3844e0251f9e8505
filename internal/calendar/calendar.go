// Package calendar answers by the wall clock: when a cron expression is next
// due, whether a window of the day is open, and how far a time is shifted so
// that not all start at once. It has no clock of its own: the same question has
// the same answer, before and after a restart.
//
// # Daylight saving time
//
// A zone's clock jumps forward over an hour in spring and goes through one twice
// in autumn.
//
// A cron time that does not exist on a day, because the clock jumps over it, is
// due when it has jumped; several such times are due once. A time that comes
// twice is due the first time only. This is so for expressions whose hour field
// does not begin with "*" or that name every n-th hour; those for every hour
// ("*/15 * * * *") go on evenly through both hours, as crontab(5) of Vixie's cron
// has it.
//
// A window is open while a clock on the wall would show a time in it: one that
// lies in the hour that is left out does not open on that day, one in the hour
// that comes twice opens twice.
package calendar

import (
	"hash/fnv"
	"io"
	"strconv"
	"time"
)

// Jitter returns how far the time at of what id names is shifted: less than
// most, at least 0, in whole milliseconds, and always the same for the same id,
// time and most.
func Jitter(id string, at time.Time, most time.Duration) time.Duration {
	if most < time.Millisecond {
		return 0
	}
	h := fnv.New64a()
	io.WriteString(h, id+"\x00"+strconv.FormatInt(at.UnixMilli(), 10))
	// The low bits of FNV are the well-mixed ones only after a last fold.
	sum := h.Sum64()
	sum ^= sum >> 32
	sum *= 0x9e3779b97f4a7c15
	sum ^= sum >> 29
	return time.Duration(sum%uint64(most.Milliseconds())) * time.Millisecond
}

// Location returns the zone of that name, as in the IANA database; "" is the
// zone of this machine.
func Location(name string) (*time.Location, error) {
	if name == "" {
		return time.Local, nil
	}
	return time.LoadLocation(name)
}

// instant returns the first moment at which a clock in loc shows what t shows in
// UTC, or if it jumps over that, the moment at which it jumps.
func instant(t time.Time, loc *time.Location) time.Time {
	_, before := t.Add(-24 * time.Hour).In(loc).Zone()
	_, after := t.Add(24 * time.Hour).In(loc).Zone()
	first := t.Add(-time.Duration(before) * time.Second).In(loc)
	for _, at := range []time.Time{first, t.Add(-time.Duration(after) * time.Second).In(loc)} {
		if shown(at).Equal(t) {
			return at
		}
	}
	jump, _ := first.ZoneBounds()
	return jump.In(loc)
}

// shown returns as a time in UTC what a clock in t's zone shows.
func shown(t time.Time) time.Time {
	year, month, day := t.Date()
	return time.Date(year, month, day, t.Hour(), t.Minute(), t.Second(), 0, time.UTC)
}
