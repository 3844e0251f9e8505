package signals_test

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/poppobuilder/poppobuilder/signals"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		text string
		want os.Signal
	}{
		{"HUP", syscall.SIGHUP},
		{"SIGHUP", syscall.SIGHUP},
		{"sighup", syscall.SIGHUP},
		{"hup", syscall.SIGHUP},
		{" Term ", syscall.SIGTERM},
		{"1", syscall.SIGHUP},
		{"15", syscall.SIGTERM},
		{"KILL", os.Kill},
		{"INT", os.Interrupt},
		{"signal 15", syscall.SIGTERM},
	} {
		got, err := signals.Parse(tt.text)
		if err != nil || got != tt.want {
			t.Errorf("Parse(%q) = %v, %v; want %v", tt.text, got, err, tt.want)
		}
	}
}

func TestParse_invalid(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "SIG", "0", "-1", "-15", "1000", "99999999999999999999", "HUPP", "SIGSIGHUP", "TERM KILL", "1.5"} {
		got, err := signals.Parse(text)
		if err == nil {
			t.Errorf("Parse(%q) = %v, want an error", text, got)
			continue
		}
		for _, part := range []string{"unknown signal", "HUP, INT, QUIT,", "from 1 to "} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("Parse(%q): the error does not say %q: %v", text, part, err)
			}
		}
	}
}

// Every signal that has a number comes back from its name.
func TestName_roundTrip(t *testing.T) {
	t.Parallel()
	valid := 0
	for n := 1; n < 200; n++ {
		sig := syscall.Signal(n)
		name := signals.Name(sig)
		got, err := signals.Parse(name)
		if err != nil {
			if strings.HasPrefix(name, "SIG") {
				t.Errorf("Parse(%q): %v", name, err)
			}
			continue
		}
		valid++
		if got != sig {
			t.Errorf("Parse(Name(%d)) = Parse(%q) = %d", n, name, got)
		}
	}
	if valid < 15 {
		t.Errorf("only %d signals are valid", valid)
	}
}

type odd struct{}

func (odd) Signal()        {}
func (odd) String() string { return "odd one" }

func TestName_others(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		sig  os.Signal
		want string
	}{
		{syscall.Signal(42), "signal 42"},
		{syscall.Signal(0), "signal 0"},
		{syscall.Signal(-3), "signal -3"},
		{odd{}, "odd one"},
		{nil, "<nil>"},
	} {
		if got := signals.Name(tt.sig); got != tt.want {
			t.Errorf("Name(%#v) = %q, want %q", tt.sig, got, tt.want)
		}
	}
}
