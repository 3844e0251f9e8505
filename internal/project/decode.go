package project

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/tailscale/hujson"

	"github.com/poppobuilder/poppobuilder/internal/calendar"
)

// A decoder turns JSON with comments into projects and collects what is wrong.
// A value that is wrong leaves its default behind, so that one pass finds all.
type decoder struct {
	file   string
	data   []byte
	faults Faults
}

// members calls f for each member of an object that is not null.
func (d *decoder) members(key string, v hujson.Value, f func(name, key string, v hujson.Value)) {
	object, ok := v.Value.(*hujson.Object)
	if !ok {
		d.wrongType(key, v, "an object")
		return
	}
	for _, m := range object.Members {
		if m.Value.Value.Kind() != 'n' {
			name := nameOf(m)
			f(name, join(key, name), m.Value)
		}
	}
}

func (d *decoder) project(key string, v hujson.Value) Project {
	p := Project{Enabled: true, Config: DefaultConfig()}
	d.members(key, v, func(name, key string, v hujson.Value) {
		switch name {
		case "id":
			p.ID = d.text(key, v)
		case "path":
			p.Path = d.text(key, v)
		case "enabled":
			p.Enabled = d.boolean(key, v, true)
		case "createdAt":
			p.CreatedAt = d.time(key, v)
		case "config":
			p.Config = d.config(key, v)
		}
	})
	return p
}

func (d *decoder) config(key string, v hujson.Value) Config {
	c := DefaultConfig()
	d.members(key, v, func(name, key string, v hujson.Value) {
		switch name {
		case "name":
			c.Name = d.text(key, v)
		case "priority":
			c.Priority = d.integer(key, v, DefaultPriority)
		case "weight":
			c.Weight = d.weight(key, v)
		case "schedule":
			d.schedule(&c, key, v)
		case "command":
			c.Command = d.command(key, v)
		case "env":
			c.Env = make(map[string]string)
			d.members(key, v, func(name, key string, v hujson.Value) { c.Env[name] = d.text(key, v) })
		case "runTimeout":
			c.RunTimeout = d.duration(key, v)
		case "timeSlice":
			c.TimeSlice = d.duration(key, v)
		case "paused":
			c.Paused = d.boolean(key, v, false)
		case "retryAttempts":
			n := d.integer(key, v, 0)
			c.RetryAttempts = &n
		case "retryDelay":
			c.RetryDelay = d.duration(key, v)
		case "leftovers":
			c.Leftovers = d.text(key, v)
		case "onInterrupt":
			c.OnInterrupt = d.text(key, v)
		case "limits":
			c.Limits = d.limits(key, v)
		case "github":
			d.members(key, v, func(name, key string, v hujson.Value) {
				switch name {
				case "owner":
					c.GitHub.Owner = d.text(key, v)
				case "repo":
					c.GitHub.Repo = d.text(key, v)
				}
			})
		}
	})
	return c
}

func (d *decoder) schedule(c *Config, key string, v hujson.Value) {
	d.members(key, v, func(name, key string, v hujson.Value) {
		switch name {
		case "checkInterval":
			c.CheckInterval = d.duration(key, v)
		case "cron":
			if c.Cron = d.text(key, v); c.Cron == "" && v.Value.Kind() == '"' {
				d.fault(v.StartOffset, key, "is empty", calendar.CronAllowed)
			}
		case "timezone":
			c.Timezone = d.text(key, v)
		case "jitter":
			c.Jitter = d.duration(key, v)
		case "activeHours":
			c.ActiveHours = new(ActiveHours)
			d.members(key, v, func(name, key string, v hujson.Value) {
				switch name {
				case "start":
					c.ActiveHours.Start = d.text(key, v)
				case "end":
					c.ActiveHours.End = d.text(key, v)
				case "timezone":
					c.ActiveHours.Timezone = d.text(key, v)
				}
			})
		}
	})
}

func (d *decoder) text(key string, v hujson.Value) string {
	if v.Value.Kind() != '"' {
		d.wrongType(key, v, "a string")
		return ""
	}
	return v.Value.(hujson.Literal).String()
}

func (d *decoder) boolean(key string, v hujson.Value, def bool) bool {
	switch v.Value.Kind() {
	case 't', 'f':
		return v.Value.(hujson.Literal).Bool()
	}
	d.wrongType(key, v, "true, false")
	return def
}

func (d *decoder) integer(key string, v hujson.Value, def int) int {
	f, ok := d.number(v)
	if !ok || f != math.Trunc(f) || math.Abs(f) > 1<<31 {
		d.wrongType(key, v, "a whole number")
		return def
	}
	return int(f)
}

func (d *decoder) weight(key string, v hujson.Value) float64 {
	f, ok := d.number(v)
	switch {
	case !ok:
		d.wrongType(key, v, "a number, 0.1..10")
	case f == 0: // which in Go means that nothing is said
		d.fault(v.StartOffset, key, "0 is out of range", "0.1..10")
	default:
		return f
	}
	return DefaultWeight
}

func (d *decoder) number(v hujson.Value) (float64, bool) {
	if v.Value.Kind() != '0' {
		return 0, false
	}
	f, err := strconv.ParseFloat(string(v.Value.(hujson.Literal)), 64)
	return f, err == nil
}

const durationAllowed = `milliseconds, such as 30000, or a string such as "30s"`

func (d *decoder) duration(key string, v hujson.Value) *time.Duration {
	if v.Value.Kind() == '"' {
		text := v.Value.(hujson.Literal).String()
		duration, err := time.ParseDuration(text)
		if err != nil {
			d.fault(v.StartOffset, key, fmt.Sprintf("%q is not a duration", text), durationAllowed)
			return nil
		}
		return &duration
	}
	ms, ok := d.number(v)
	if !ok {
		d.wrongType(key, v, durationAllowed)
		return nil
	}
	const longest = math.MaxInt64 / float64(time.Millisecond)
	if math.Abs(ms) >= longest {
		d.fault(v.StartOffset, key, "is too long", durationAllowed)
		return nil
	}
	duration := time.Duration(ms * float64(time.Millisecond))
	return &duration
}

func (d *decoder) time(key string, v hujson.Value) time.Time {
	text := d.text(key, v)
	if text == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		d.fault(v.StartOffset, key, fmt.Sprintf("%q is not a time", text), `such as "2006-01-02T15:04:05Z"`)
	}
	return t
}

func (d *decoder) command(key string, v hujson.Value) []string {
	array, ok := v.Value.(*hujson.Array)
	if !ok {
		d.wrongType(key, v, `an array of strings, such as ["make", "test"]`)
		return nil
	}
	if len(array.Elements) == 0 {
		d.fault(v.StartOffset, key, "names no program", "[program, argument...]")
	}
	var argv []string
	for i, e := range array.Elements {
		argv = append(argv, d.text(fmt.Sprintf("%s[%d]", key, i), e))
	}
	return argv
}

func (d *decoder) wrongType(key string, v hujson.Value, allowed string) {
	d.fault(v.StartOffset, key, describe(v)+" does not fit", allowed)
}

// describe names a value without printing long ones.
func describe(v hujson.Value) string {
	switch v.Value.Kind() {
	case '{':
		return "an object"
	case '[':
		return "an array"
	}
	text := string(v.Value.(hujson.Literal))
	if len(text) > 40 {
		return text[:40] + "..."
	}
	return text
}
