package signals

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// Parse returns the signal that name means: "SIGHUP", "HUP" or "1", in upper or lower case, or what [Name] returns.
// Names and numbers are those of this system. The error says what is valid.
func Parse(name string) (os.Signal, error) {
	text := strings.ToUpper(strings.TrimSpace(name))
	if n, err := strconv.Atoi(strings.TrimPrefix(text, "SIGNAL ")); err == nil {
		if sig := syscall.Signal(n); n > 0 && (n <= maxSignal || nameOf(sig) != "") {
			return sig, nil
		}
		return nil, parseError(name)
	}
	if sig := numberOf("SIG" + strings.TrimPrefix(text, "SIG")); sig != 0 {
		return sig, nil
	}
	return nil, parseError(name)
}

func parseError(name string) error {
	var names []string
	for n := 1; n <= maxNamed; n++ {
		if name := nameOf(syscall.Signal(n)); name != "" {
			names = append(names, strings.TrimPrefix(name, "SIG"))
		}
	}
	return fmt.Errorf("unknown signal %q: use a number from 1 to %d, or one of %s, with or without SIG", name, maxSignal, strings.Join(names, ", "))
}

// Name returns the name of sig on this system, such as "SIGHUP", or "signal 42" for one that has no name.
func Name(sig os.Signal) string {
	s, ok := sig.(syscall.Signal)
	if !ok {
		return fmt.Sprint(sig)
	}
	if name := nameOf(s); name != "" {
		return name
	}
	return fmt.Sprintf("signal %d", int(s))
}

// number returns what signals are sorted by. Signals that are not numbers come last.
func number(sig os.Signal) int {
	if s, ok := sig.(syscall.Signal); ok {
		return int(s)
	}
	return maxNamed + 1
}
