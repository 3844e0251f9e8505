package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestQuoteUnit(t *testing.T) {
	t.Parallel()
	tests := []struct {
		word     string
		argument bool
		want     string
	}{
		{"/usr/bin/poppobuilder", false, "/usr/bin/poppobuilder"},
		{"/my apps/pb", false, `"/my apps/pb"`},
		{"100%", false, "100%%"},
		{"$HOME", false, "$HOME"},
		{"$HOME", true, "$$HOME"},
		{`a"b\c`, false, `"a\"b\\c"`},
		{"it's", false, `"it's"`},
		{"", false, `""`},
		{"a;b", false, `"a;b"`},
		{"two\nlines", false, `"two\nlines"`},
	}
	for _, tt := range tests {
		if got := quoteUnit(tt.word, tt.argument); got != tt.want {
			t.Errorf("quoteUnit(%q, %t) = %s, want %s", tt.word, tt.argument, got, tt.want)
		}
	}
}

// The units are what systemd itself takes without a word, also for a program
// and a home with awkward names.
func TestUnitVerify(t *testing.T) {
	t.Parallel()
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not installed")
	}
	dir := filepath.Join(t.TempDir(), "my 100% $apps")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "poppobuilder")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, forking := range []bool{false, true} {
		for _, user := range []bool{false, true} {
			text := unitText(unitOptions{
				Command:     []string{program},
				Home:        filepath.Join(dir, `one's "best" home`),
				PIDFile:     filepath.Join(dir, `one's "best" home`, "daemon.pid"),
				StopTimeout: 30 * time.Second,
				User:        user,
				Forking:     forking,
			})
			file := filepath.Join(t.TempDir(), "poppobuilder.service")
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := exec.Command(analyze, "verify", "--man=no", "--recursive-errors=no", file).CombinedOutput()
			if err != nil || strings.Contains(string(out), "poppobuilder") {
				t.Errorf("forking %t, user %t: %v\n%s\n%s", forking, user, err, out, text)
			}
		}
	}
}

// Seconds are rounded up: systemd must not be the faster one.
func TestUnitStopTimeout(t *testing.T) {
	t.Parallel()
	text := unitText(unitOptions{Command: []string{"/pb"}, StopTimeout: 1500 * time.Millisecond})
	if !strings.Contains(text, "\nTimeoutStopSec=12\n") {
		t.Errorf("want TimeoutStopSec=12 in\n%s", text)
	}
}
