package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tailscale/hujson"
)

// allowed puts the key's range into words.
func (k Key) allowed() string {
	switch k.Kind {
	case Bool:
		return "true or false"
	case Int:
		return fmt.Sprintf("a whole number from %s to %s", k.bound(k.min), k.bound(k.max))
	case Float:
		return fmt.Sprintf("a number from %s to %s", k.bound(k.min), k.bound(k.max))
	case Choice:
		return "one of " + strings.Join(k.Choices, ", ")
	case Port:
		return "a whole number from 0 to 65535, or null"
	case Command:
		return `a list of strings, as in ["node", "worker.js"], or [] for the built-in worker`
	case Duration:
		least := k.bound(k.min)
		if k.zero {
			least = "0, or " + least
		}
		return fmt.Sprintf(`milliseconds or text as "30s", "1h30m", "7d"; from %s to %s`, least, k.bound(k.max))
	case Size:
		return fmt.Sprintf(`bytes or text as "10M", "512K"; from %s to %s`, k.bound(k.min), k.bound(k.max))
	default:
		return "text"
	}
}

// bound formats an end of the key's range.
func (k Key) bound(f float64) string {
	switch k.Kind {
	case Duration:
		return formatDuration(time.Duration(f) * time.Millisecond)
	case Size:
		return formatSize(int64(f))
	default:
		return strconv.FormatFloat(f, 'f', -1, 64)
	}
}

// format is the text that parseText reads back as v.
func (k Key) format(v any) string {
	switch v := v.(type) {
	case time.Duration:
		return formatDuration(v)
	case int64:
		return formatSize(v)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case *int:
		if v == nil {
			return "null"
		}
		return strconv.Itoa(*v)
	case []string:
		return formatCommand(v)
	default:
		return fmt.Sprint(v)
	}
}

// jsonValue is v as a program reads it: durations in milliseconds, sizes in
// bytes.
func jsonValue(v any) any {
	switch v := v.(type) {
	case time.Duration:
		return v.Milliseconds()
	case []string:
		if v == nil {
			return []string{}
		}
		return v
	case *int:
		if v == nil {
			return nil
		}
		return *v
	default:
		return v
	}
}

// literal is v as [Set] writes it into the file: in the user's own spelling
// where the file takes that.
func (k Key) literal(v any, text string) string {
	switch k.Kind {
	case Duration, Size:
		if strings.Trim(text, "0123456789") == "" {
			return fmt.Sprint(jsonValue(v)) // not text, which may be 007
		}
		return string(hujson.String(text))
	case String, Choice:
		return string(hujson.String(text))
	default:
		return k.format(v)
	}
}
