package config

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tailscale/hujson"
)

// A value is one of bool, int, float64, string, time.Duration, int64 (Size),
// *int (Port) and []string (Command), as the fields of Settings are.

// load returns the key's value in s.
func (k Key) load(s *Settings) any {
	switch p := k.field(s).(type) {
	case *bool:
		return *p
	case *int:
		return *p
	case *int64:
		return *p
	case *float64:
		return *p
	case *string:
		return *p
	case *time.Duration:
		return *p
	case **int:
		return *p
	case *[]string:
		return *p
	default:
		panic(fmt.Sprintf("config: %s has a field of type %T", k.Name, p))
	}
}

// store puts v, which parseText or parseJSON made for this key, into s.
func (k Key) store(s *Settings, v any) {
	switch p := k.field(s).(type) {
	case *bool:
		*p = v.(bool)
	case *int:
		*p = v.(int)
	case *int64:
		*p = v.(int64)
	case *float64:
		*p = v.(float64)
	case *string:
		*p = v.(string)
	case *time.Duration:
		*p = v.(time.Duration)
	case **int:
		*p = v.(*int)
	case *[]string:
		*p = v.([]string)
	}
}

func equal(a, b any) bool {
	switch a := a.(type) {
	case []string:
		return slices.Equal(a, b.([]string))
	case *int:
		b := b.(*int)
		return a == b || a != nil && b != nil && *a == *b
	default:
		return a == b
	}
}

// check returns what is wrong with v, or "".
func (k Key) check(v any) string {
	var n float64
	switch v := v.(type) {
	case string:
		return k.checkString(v)
	case int64:
		n = float64(v)
	case time.Duration:
		if v%time.Millisecond != 0 {
			return formatDuration(v) + " is not a whole number of milliseconds"
		}
		n = float64(v.Milliseconds())
	default: // numbers and commands are checked where they are read
		return ""
	}
	if !k.inRange(n) {
		return k.format(v) + " is out of range"
	}
	return ""
}

func (k Key) inRange(n float64) bool { return k.zero && n == 0 || k.min <= n && n <= k.max }

func (k Key) checkString(s string) string {
	if k.Kind == Choice {
		if slices.Contains(k.Choices, s) {
			return ""
		}
		if near := nearest(s, k.Choices); near != "" {
			return fmt.Sprintf("unknown value %q, did you mean %q?", s, near)
		}
		return fmt.Sprintf("unknown value %q", s)
	}
	// The only free text is daemon.host, where the API listens: nowhere but on
	// this machine, and what other names stand for is up to a name server.
	addr, err := netip.ParseAddr(s)
	if s != "localhost" && (err != nil || !addr.Unmap().IsLoopback() || addr.Zone() != "") {
		return fmt.Sprintf("%q is not on the loopback", clip(s))
	}
	return ""
}

// parseText reads the form that flags, variables and the command line use.
func (k Key) parseText(s string) (v any, problem string) {
	switch k.Kind {
	case Bool:
		// The words of JSON only: 1, T or yes would be faults in the file.
		switch s {
		case "true":
			return true, ""
		case "false":
			return false, ""
		}
		return nil, fmt.Sprintf("%q is neither true nor false", clip(s))
	case Int, Float:
		return k.parseNumber(s)
	case Port:
		if s == "null" || s == "none" {
			return (*int)(nil), ""
		}
		return k.parseNumber(s)
	case Duration:
		v, problem = parseDuration(s)
	case Size:
		v, problem = parseSize(s)
	case Command:
		v, problem = parseCommandText(s)
	default:
		v = s
	}
	if problem == "" {
		problem = k.check(v)
	}
	return v, problem
}

// parseJSON reads the form of the file.
func (k Key) parseJSON(j hujson.ValueTrimmed) (v any, problem string) {
	wrong := "is " + kindName(j)
	lit, _ := j.(hujson.Literal)
	switch kind := j.Kind(); k.Kind {
	case Bool:
		if kind != 't' && kind != 'f' {
			return nil, wrong
		}
		return kind == 't', ""
	case Int, Float:
		if kind != '0' {
			return nil, wrong
		}
		return k.parseNumber(string(lit))
	case Port:
		switch kind {
		case 'n':
			return (*int)(nil), ""
		case '0':
			return k.parseNumber(string(lit))
		}
		return nil, wrong
	case Duration, Size:
		switch kind {
		case '"':
			return k.parseText(lit.String())
		case '0':
			return k.parseNumber(string(lit))
		}
		return nil, wrong
	case Command:
		v, problem = parseCommand(j)
		return v, problem
	default:
		if kind != '"' {
			return nil, wrong
		}
		s := lit.String()
		return s, k.check(s)
	}
}

// kindName says what was found where something else was expected.
func kindName(j hujson.ValueTrimmed) string {
	switch j.Kind() {
	case 'n':
		return "null"
	case 't', 'f':
		return "a boolean (" + j.(hujson.Literal).String() + ")"
	case '"':
		return "a string (" + clip(string(j.(hujson.Literal))) + ")"
	case '0':
		return "a number (" + clip(j.(hujson.Literal).String()) + ")"
	case '{':
		return "an object"
	default:
		return "a list"
	}
}

// parseNumber reads a number as JSON writes it. 2.0 and 2e0 are whole
// numbers, as they are for a JSON schema.
func (k Key) parseNumber(s string) (any, string) {
	f, err := strconv.ParseFloat(s, 64)
	if errors.Is(err, strconv.ErrRange) {
		err = nil // ±Inf, which is out of every range
	}
	if err != nil || strings.Trim(s, "0123456789+-.eE") != "" { // ParseFloat also takes Go's literals, Inf and NaN
		return nil, fmt.Sprintf("%q is not a number", clip(s))
	}
	if k.Kind != Float && f != math.Trunc(f) {
		return nil, clip(s) + " is not a whole number"
	}
	if !k.inRange(f) { // before the conversions, which would overflow
		return nil, clip(s) + " is out of range"
	}
	switch k.Kind {
	case Float:
		return f, ""
	case Duration:
		return time.Duration(f) * time.Millisecond, ""
	case Size:
		return int64(f), ""
	case Port:
		n := int(f)
		return &n, ""
	default:
		return int(f), ""
	}
}

// clip keeps a message readable when the input is not.
func clip(s string) string {
	const most = 60
	if s, _, cut := strings.Cut(s, "\n"); cut || len(s) > most {
		if len(s) > most {
			s = s[:most]
		}
		return strings.ToValidUTF8(s, "") + "..."
	}
	return s
}
