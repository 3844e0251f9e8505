package procworker_test

import (
	"bufio"
	"context"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/poppobuilder/poppobuilder/procworker"
)

// What a child gets when its parent is killed: the default gives it no time
// for a word.
func TestDeathSignal(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		sig  syscall.Signal
		want string
	}{
		{name: "default", want: "up"},
		{name: "TERM", sig: syscall.SIGTERM, want: "up TERM"},
		{name: "HUP", sig: syscall.SIGHUP, want: "up HUP"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			words, theirs, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer words.Close()
			if err := words.SetReadDeadline(time.Now().Add(hangGuard)); err != nil {
				t.Fatal(err)
			}
			w := asChild(t, "mortal "+strconv.Itoa(int(tt.sig)))
			w.IPC, w.Stdout = false, theirs
			mark(t, w)
			s := serve(t, w).awaitReady()
			theirs.Close()
			lines := bufio.NewScanner(words)
			if !lines.Scan() || lines.Text() != "up" {
				t.Fatalf("the child says %q, %v", lines.Text(), lines.Err())
			}
			if err := w.Signal(syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			_ = s.end()
			said := []string{"up"}
			for lines.Scan() { // until the child is dead
				if word := lines.Text(); word != said[len(said)-1] { // it may come twice
					said = append(said, word)
				}
			}
			if got := strings.Join(said, " "); got != tt.want || lines.Err() != nil {
				t.Errorf("the child said %q, want %q (%v)", got, tt.want, lines.Err())
			}
		})
	}
}

// playMortal runs a child with that death signal, which tells what it gets.
func playMortal(sig string) int {
	number, err := strconv.Atoi(sig)
	if err != nil {
		return 2
	}
	w := &procworker.Worker{
		Command: []string{"sh", "-c", `
			trap 'echo TERM; exit' TERM
			trap 'echo HUP; exit' HUP
			echo up
			while :; do sleep 0.01; done`},
		Stdout:      os.Stdout,
		DeathSignal: syscall.Signal(number),
	}
	_ = w.Serve(context.Background())
	return 1
}
