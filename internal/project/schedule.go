package project

import (
	"cmp"
	"fmt"
	"time"

	"github.com/poppobuilder/poppobuilder/internal/calendar"
)

// MaxJitter is the most that [Config.Jitter] may be.
const MaxJitter = 24 * time.Hour

// CronTimes returns the times of the project's runs; nil if it goes by its check
// interval.
func (c Config) CronTimes() (*calendar.Cron, error) {
	if c.Cron == "" {
		return nil, nil
	}
	loc, err := calendar.Location(c.Timezone)
	if err != nil {
		return nil, err
	}
	return calendar.ParseCron(c.Cron, loc)
}

// Window returns the hours in which the project's runs may start; nil if they
// always may.
func (c Config) Window() (*calendar.Window, error) {
	if c.ActiveHours == nil {
		return nil, nil
	}
	start, err := calendar.ParseClock(cmp.Or(c.ActiveHours.Start, "00:00"))
	if err != nil {
		return nil, err
	}
	end, err := calendar.ParseClock(cmp.Or(c.ActiveHours.End, "24:00"))
	if err != nil {
		return nil, err
	}
	loc, err := calendar.Location(cmp.Or(c.ActiveHours.Timezone, c.Timezone))
	if err != nil {
		return nil, err
	}
	return &calendar.Window{Start: start, End: end, Location: loc}, nil
}

// validateSchedule finds each fault where it is, which the two above do not.
func (c Config) validateSchedule(check func(ok bool, key, problem, allowed string)) {
	const key = "config.schedule."
	checkZone := func(key, name string) bool {
		_, err := calendar.Location(name)
		check(err == nil, key, fmt.Sprintf("%q is no time zone", name), `a name such as "Europe/Berlin" or "UTC"`)
		return err == nil
	}
	checkClock := func(key, text string) {
		if text != "" {
			_, err := calendar.ParseClock(text)
			check(err == nil, key, fmt.Sprint(err), calendar.ClockAllowed)
		}
	}
	if zone := checkZone(key+"timezone", c.Timezone); zone && c.Cron != "" {
		_, err := c.CronTimes()
		check(err == nil, key+"cron", fmt.Sprint(err), calendar.CronAllowed)
	}
	check(c.Cron == "" || c.CheckInterval == nil, key+"cron", "stands beside checkInterval", "one of the two")
	if h := c.ActiveHours; h != nil {
		checkClock(key+"activeHours.start", h.Start)
		checkClock(key+"activeHours.end", h.End)
		checkZone(key+"activeHours.timezone", h.Timezone)
	}
	check(valueOr(c.Jitter, 0) >= 0 && valueOr(c.Jitter, 0) <= MaxJitter, key+"jitter",
		fmt.Sprintf("%v is out of range", valueOr(c.Jitter, 0)), fmt.Sprintf("0 to %v", MaxJitter))
}
