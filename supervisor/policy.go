package supervisor

import (
	"fmt"
	"math"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// Restart says after which kind of end a service is started again. The words
// and their meaning are those of OTP's supervisor(3).
type Restart int8

const (
	Permanent Restart = iota // always
	Transient                // after a failure, not after a normal end (see Options.Normal)
	Temporary                // never
)

// String gives OTP's word, which [ParseRestart] reads.
func (p Restart) String() string {
	switch p {
	case Permanent:
		return "permanent"
	case Transient:
		return "transient"
	case Temporary:
		return "temporary"
	default:
		return fmt.Sprintf("Restart(%d)", int(p))
	}
}

// ParseRestart reads permanent, transient or temporary.
func ParseRestart(s string) (Restart, error) {
	for p := Permanent; p <= Temporary; p++ {
		if s == p.String() {
			return p, nil
		}
	}
	return 0, fmt.Errorf("restart policy %q: want permanent, transient or temporary", s)
}

// Backoff says how long to wait before a service is started again. Its zero
// value waits 1 s, 2 s, 4 s, 8 s, 16 s, and then always 30 s, and begins anew
// once the service was ready for a minute.
type Backoff struct {
	// InitialDelay comes before the first restart. 0: 1 s. Negative: no delay
	// at all, ever.
	InitialDelay time.Duration
	// MaxDelay is the longest delay, jitter included. 0 or less: 30 s, or
	// InitialDelay if that is longer.
	MaxDelay time.Duration
	// Multiplier is what each delay is multiplied by to give the next. 0: 2.
	// Anything else below 1 counts as 1.
	Multiplier float64
	// Jitter spreads each delay evenly over delay*(1-Jitter) to
	// delay*(1+Jitter). 0 to 1; 0: none.
	Jitter float64
	// ResetAfter is how long a service has to be ready, in one go, for its
	// next delay to be InitialDelay again. A service that cannot tell when it
	// is ready counts from its start. 0: 60 s. Negative: never.
	ResetAfter time.Duration
}

// withDefaults returns b with every field in the range where it means itself.
func (b Backoff) withDefaults() Backoff {
	if b.InitialDelay == 0 {
		b.InitialDelay = time.Second
	}
	if b.MaxDelay <= 0 {
		b.MaxDelay = max(30*time.Second, b.InitialDelay)
	}
	b.MaxDelay = min(b.MaxDelay, math.MaxInt64/4) // 73 years; jitter must not overflow
	b.InitialDelay = min(b.InitialDelay, b.MaxDelay)
	switch {
	case b.Multiplier == 0:
		b.Multiplier = 2
	case !(b.Multiplier >= 1): // NaN too
		b.Multiplier = 1
	}
	if !(b.Jitter > 0) {
		b.Jitter = 0
	}
	b.Jitter = min(b.Jitter, 1)
	if b.ResetAfter == 0 {
		b.ResetAfter = time.Minute
	}
	return b
}

// longest is the longest delay that b, which has its defaults, can give.
func (b Backoff) longest() time.Duration {
	if b.InitialDelay < 0 {
		return 0
	}
	return b.MaxDelay
}

// delays returns b, which has its defaults, as a sequence of delays. They may
// exceed longest, as the library adds jitter to what it has capped before.
func (b Backoff) delays() backoff.BackOff {
	if b.InitialDelay < 0 {
		return &backoff.ZeroBackOff{}
	}
	// MaxElapsedTime 0, because the library's default turns the delay into -1
	// after 15 minutes.
	return backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(b.InitialDelay),
		backoff.WithMaxInterval(b.MaxDelay),
		backoff.WithMultiplier(b.Multiplier),
		backoff.WithRandomizationFactor(b.Jitter),
		backoff.WithMaxElapsedTime(0),
	)
}

// Intensity limits how often a service is started again before its supervisor
// gives up: OTP's MaxR and MaxT. Delays count as part of the period, so a limit
// that the [Backoff] never reaches never strikes: with the default delays there
// are at most 6 restarts within a minute.
type Intensity struct {
	// MaxRestarts is how many restarts are allowed within Within; the next
	// failure within it gives up. 0: never give up. Negative: no restart is
	// allowed, the first failure gives up.
	MaxRestarts int
	// Within is the period. 0 or less: 60 s.
	Within time.Duration
}

func (i Intensity) withDefaults() Intensity {
	if i.Within <= 0 {
		i.Within = time.Minute
	}
	return i
}

// A window holds the times of the latest failures under a limit, oldest first.
type window []time.Time

// exceeds notes a failure at now and reports whether it is one too many.
func (w *window) exceeds(limit Intensity, now time.Time) bool {
	if limit.MaxRestarts == 0 {
		return false
	}
	old := 0
	for old < len(*w) && now.Sub((*w)[old]) > limit.Within {
		old++
	}
	*w = append((*w)[:copy(*w, (*w)[old:])], now)
	return len(*w) > max(limit.MaxRestarts, 0)
}
