package calendar

import (
	"fmt"
	"regexp"
	"time"
)

// A Window is a part of each day, from Start, inclusive, to End, exclusive. One
// that ends before it starts goes over midnight; one that ends when it starts is
// the whole day.
type Window struct {
	Start, End time.Duration // since midnight, by the clock on the wall
	Location   *time.Location
}

// ClockAllowed says in words what [ParseClock] takes.
const ClockAllowed = `"HH:MM", from "00:00" to "24:00"`

var clock = regexp.MustCompile(`^([0-9]{1,2}):([0-9]{2})$`)

// ParseClock returns the time since midnight of "9:00", "09:00" or "24:00".
func ParseClock(text string) (time.Duration, error) {
	var hour, minute int
	if !clock.MatchString(text) {
		return 0, fmt.Errorf("%q is no time of the day", text)
	}
	fmt.Sscanf(text, "%d:%d", &hour, &minute)
	if hour > 24 || minute > 59 || hour == 24 && minute > 0 {
		return 0, fmt.Errorf("%q is no time of the day", text)
	}
	return time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute, nil
}

// always reports whether the window is the whole day.
func (w Window) always() bool {
	const day = 24 * time.Hour
	return (w.End-w.Start)%day == 0
}

// Open reports whether the window is open at t.
func (w Window) Open(t time.Time) bool {
	t = t.In(w.Location)
	at := time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute
	switch {
	case w.always():
		return true
	case w.Start < w.End:
		return w.Start <= at && at < w.End
	default:
		return at >= w.Start || at < w.End
	}
}

// Opens returns the first moment from t on at which the window is open.
func (w Window) Opens(t time.Time) time.Time { return w.first(t, w.Start, true) }

// Closes returns the first moment from t on at which the window is closed; the
// zero time if it never is.
func (w Window) Closes(t time.Time) time.Time {
	if w.always() {
		return time.Time{}
	}
	return w.first(t, w.End, false)
}

// first looks for a moment at which the window is open or is not: t itself, a
// moment at which a clock shows at, or one at which it jumps.
func (w Window) first(t time.Time, at time.Duration, open bool) time.Time {
	if w.Open(t) == open {
		return t
	}
	year, month, day := t.In(w.Location).Date()
	midnight := time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
	var found time.Time
	consider := func(c time.Time) {
		if c.After(t) && w.Open(c) == open && (found.IsZero() || c.Before(found)) {
			found = c
		}
	}
	for d := range 4 { // a day on which it does not open at all may be among them
		consider(instant(midnight.AddDate(0, 0, d).Add(at), w.Location))
	}
	if _, jump := t.In(w.Location).ZoneBounds(); !jump.IsZero() {
		consider(jump)
	}
	return found
}
