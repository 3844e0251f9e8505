package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A background describes a daemon to start.
type background struct {
	Command []string // the whole command line
	Environ []string
	Home    string // its working directory, which no unmount then misses
	Log     string // receives what it prints: early errors, and panics
}

// killAfter is what an interrupted start grants the daemon to clean up.
const killAfter = 10 * time.Second

// start starts the daemon in a session of its own and waits until it has
// reported. It returns the daemon's pid. If ctx ends first, the daemon is
// stopped again.
//
// Go cannot fork, and need not: a daemon is the same program started once more,
// with nothing left that ties it to this terminal.
func (b background) start(ctx context.Context) (pid int, err error) {
	if err := os.MkdirAll(filepath.Dir(b.Log), 0o700); err != nil {
		return 0, fmt.Errorf("create the folder of logs: %w", err)
	}
	output, err := os.OpenFile(b.Log, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return 0, fmt.Errorf("open the daemon's log: %w", err)
	}
	defer output.Close()
	before, err := output.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, fmt.Errorf("open the daemon's log: %w", err)
	}
	keepDescriptors()
	read, write, err := os.Pipe()
	if err != nil {
		return 0, fmt.Errorf("create the readiness pipe: %w", err)
	}
	defer read.Close()

	child := exec.Command(b.Command[0], b.Command[1:]...)
	child.Dir = b.Home
	child.Env = append(slices.Clone(b.Environ), readyFDVariable+"=3")
	child.Stdout, child.Stderr = output, output
	child.ExtraFiles = []*os.File{write}
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = child.Start()
	write.Close() // so that the daemon's end is seen
	if err != nil {
		return 0, fmt.Errorf("start the daemon: %w", err)
	}

	report, err := b.await(ctx, child, read)
	switch {
	case errors.Is(err, errSilent):
		child.Wait()
		return 0, fmt.Errorf("%w (%s)%s; see %s", err, child.ProcessState, lastWords(b.Log, before), b.Log)
	case err != nil:
		return 0, err
	case !report.Ready:
		child.Wait()
		return 0, &failure{code: report.Code, exit: report.Exit, err: errors.New(report.Error)}
	}
	child.Process.Release()
	return report.PID, nil
}

// keepDescriptors keeps the descriptors that this process inherited, beyond the
// standard three, from the programs that it starts. A lock or a pipe that a
// shell had open would be held for as long as the daemon runs. Systems that do
// not list descriptors in /dev/fd pass them on.
func keepDescriptors() {
	entries, _ := os.ReadDir("/dev/fd")
	for _, entry := range entries {
		if fd, err := strconv.Atoi(entry.Name()); err == nil && fd > 2 {
			syscall.CloseOnExec(fd)
		}
	}
}

// await reads the report of child. If ctx ends first it stops child and waits
// for its end.
func (b background) await(ctx context.Context, child *exec.Cmd, pipe *os.File) (readyReport, error) {
	stopWatching := context.AfterFunc(ctx, func() {
		child.Process.Signal(syscall.SIGTERM)
		pipe.SetReadDeadline(time.Now().Add(killAfter))
	})
	report, err := readReport(pipe)
	if stopWatching() {
		return report, err
	}
	// The daemon holds the pipe's other end until it is ready or gone. Ready
	// or not, it has been told to stop by now.
	ended := make(chan struct{})
	go func() {
		child.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(killAfter):
		child.Process.Kill()
		<-ended
	}
	return readyReport{}, failf(codeInterrupted, exitInterrupted, "interrupted while the daemon was starting; it was stopped again")
}

// lastWords returns the end of what was written to the log at path after
// offset, set off from the sentence before it, or nothing.
func lastWords(path string, offset int64) string {
	const lines, size = 10, 4 << 10
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil || end <= offset {
		return ""
	}
	text := make([]byte, min(end-offset, size))
	if _, err := f.ReadAt(text, end-int64(len(text))); err != nil {
		return ""
	}
	all := strings.Split(strings.TrimSpace(string(text)), "\n")
	return ":\n  " + strings.Join(all[max(0, len(all)-lines):], "\n  ") + "\n"
}
