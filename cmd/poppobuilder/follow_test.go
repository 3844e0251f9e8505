package main

import (
	"bufio"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/poppobuilder/poppobuilder/internal/config"
)

// following runs a command that ends on Ctrl-C only. It returns what the
// command prints, and a function that ends it and returns its exit code.
func following(t *testing.T, home string, args ...string) (out *bufio.Reader, end func() int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	read, write := io.Pipe()
	exit := make(chan int, 1)
	go func() {
		p := program{Stdout: write, Stderr: io.Discard, Environ: []string{config.HomeVariable + "=" + home}}
		exit <- p.run(ctx, args)
		write.Close()
	}()
	return bufio.NewReader(read), func() int {
		cancel()
		go io.Copy(io.Discard, read)
		return <-exit
	}
}

// Ctrl-C is how watching ends: no error, whatever the daemon's state.
func TestStatusWatch(t *testing.T) {
	t.Parallel()
	out, end := following(t, t.TempDir(), "daemon", "status", "--watch", "--json")
	for range 2 { // it comes again
		line, err := out.ReadString('\n')
		if err != nil || line != `{"running":false}`+"\n" {
			t.Fatalf("got %q, %v", line, err)
		}
	}
	if exit := end(); exit != exitOK {
		t.Errorf("exit %d, want %d", exit, exitOK)
	}
}

func TestLogsFollow(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	log := config.NewPaths(home).DaemonLog
	if err := os.Mkdir(filepath.Dir(log), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(log, []byte("one\ntwo\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, end := following(t, home, "daemon", "logs", "-f", "-n", "1")
	var got []string
	next := func() {
		line, err := out.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, strings.TrimSpace(line))
	}
	next()
	f, err := os.OpenFile(log, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("three\n"); err != nil {
		t.Fatal(err)
	}
	next()
	if want := "two three"; strings.Join(got, " ") != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if exit := end(); exit != exitOK {
		t.Errorf("exit %d, want %d", exit, exitOK)
	}
}
