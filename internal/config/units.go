package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// parseDuration reads milliseconds (30000), Go's form (1h30m) or days (7d).
func parseDuration(s string) (any, string) {
	switch {
	case s == "" || s[0] == '+' || s[0] == '-':
	case strings.Trim(s, "0123456789") == "":
		return scaled(s, time.Millisecond)
	case strings.HasSuffix(s, "d") && strings.Trim(s[:len(s)-1], "0123456789") == "" && s != "d":
		return scaled(strings.TrimSuffix(s, "d"), 24*time.Hour)
	default:
		if d, err := time.ParseDuration(s); err == nil {
			return d, ""
		}
	}
	return nil, fmt.Sprintf("%q is not a duration", clip(s))
}

func scaled(digits string, unit time.Duration) (any, string) {
	n, err := strconv.ParseInt(digits, 10, 64)
	if most := math.MaxInt64 / int64(unit); err != nil || n > most {
		return nil, clip(digits) + " is out of range"
	}
	return time.Duration(n) * unit, ""
}

// formatDuration is [time.Duration.String] without empty parts: 5m, not 5m0s.
func formatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// sizeUnits are powers of 1024, whatever they are called: K, KB and KiB are
// the same, as in the configuration of most log rotators.
const sizeUnits = "KMG"

func parseSize(s string) (any, string) {
	number := strings.TrimRight(s, "KMGkmgiBb")
	unit := strings.ToUpper(s[len(number):])
	n, err := strconv.ParseInt(number, 10, 64)
	shift := 0
	if unit != "" && unit != "B" {
		i := strings.IndexByte(sizeUnits, unit[0])
		if rest := unit[1:]; i < 0 || rest != "" && rest != "B" && rest != "IB" {
			err = strconv.ErrSyntax
		}
		shift = 10 * (i + 1)
	}
	if err != nil || number[0] == '+' {
		return nil, fmt.Sprintf("%q is not a size", clip(s))
	}
	if n > math.MaxInt64>>shift || n < 0 {
		return nil, clip(s) + " is out of range"
	}
	return n << shift, ""
}

// formatSize uses the largest unit that divides n.
func formatSize(n int64) string {
	for i := len(sizeUnits) - 1; i >= 0; i-- {
		if unit := int64(1) << (10 * (i + 1)); n >= unit && n%unit == 0 {
			return strconv.FormatInt(n/unit, 10) + sizeUnits[i:i+1]
		}
	}
	return strconv.FormatInt(n, 10)
}
