package calendar

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// Cron is when something is due, by five fields of minute, hour, day of the
// month, month and day of the week, or a name such as @daily.
//
// The parser is robfig/cron's, the most used one: it reads an expression once,
// into sets of bits, and has no surprises left. What it makes of days on which
// the clock jumps is not what people expect (it leaves out a time that does not
// exist and takes one that comes twice two times), so that is done here.
type Cron struct {
	schedule *cron.SpecSchedule // in UTC
	hourly   cron.SpecSchedule  // in the zone
	loc      *time.Location
	every    bool // hour
}

// CronAllowed says in words what [ParseCron] takes.
const CronAllowed = `five fields "MINUTE HOUR DAY MONTH WEEKDAY", such as "30 3 * * 1-5", or @hourly, @daily, @weekly, @monthly, @yearly`

// everyHour is how the parser marks a "*".
const everyHour = 1 << 63

// ParseCron returns the times of an expression in a zone.
func ParseCron(expression string, loc *time.Location) (*Cron, error) {
	if strings.Contains(expression, "=") { // the parser's own way to name a zone
		return nil, errors.New("has a zone: name it in schedule.timezone")
	}
	parsed, err := cron.ParseStandard(expression)
	if err != nil {
		return nil, err
	}
	spec, ok := parsed.(*cron.SpecSchedule)
	if !ok {
		return nil, errors.New("is an interval: give it as schedule.checkInterval")
	}
	c := &Cron{schedule: spec, hourly: *spec, loc: loc, every: spec.Hour&everyHour != 0}
	c.schedule.Location, c.hourly.Location = time.UTC, loc
	if c.Next(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() { // there is a 29th of February to come
		return nil, fmt.Errorf("%q never comes", expression)
	}
	return c, nil
}

// Next returns the first time after t; the zero time if there is none within
// five years.
func (c *Cron) Next(t time.Time) time.Time {
	if c.every {
		return c.hourly.Next(t.In(c.loc))
	}
	for at := shown(t.In(c.loc)); ; {
		if at = c.schedule.Next(at); at.IsZero() {
			return at
		}
		if next := instant(at, c.loc); next.After(t) {
			return next
		}
	}
}
