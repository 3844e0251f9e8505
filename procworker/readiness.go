package procworker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"time"
)

// A ReadyMode says what makes a started child ready.
type ReadyMode int

const (
	// ReadyAuto goes by what is set: [Worker.ReadyPattern], ReadyAddress,
	// Notify, IPC, the first of these. If none is, it is ReadyAtOnce.
	ReadyAuto ReadyMode = iota
	// ReadyAtOnce: a child is ready when its program has been executed.
	ReadyAtOnce
	// ReadyMessage: a child is ready when its message "ready" has come.
	ReadyMessage
	// ReadyNotify: a child is ready when the datagram "READY=1" has come; see
	// [Worker.Notify].
	ReadyNotify
	// ReadyLine: a child is ready when it has written a line that matches
	// [Worker.ReadyPattern].
	ReadyLine
	// ReadyPort: a child is ready when [Worker.ReadyAddress] takes connections.
	ReadyPort
)

// readiness resolves ReadyAuto, and tells what is missing for the mode.
func (w *Worker) readiness() (mode ReadyMode, err error) {
	mode = w.Ready
	if mode == ReadyAuto {
		switch {
		case w.ReadyPattern != nil:
			mode = ReadyLine
		case w.ReadyAddress != "":
			mode = ReadyPort
		case w.Notify:
			mode = ReadyNotify
		case w.IPC:
			mode = ReadyMessage
		default:
			mode = ReadyAtOnce
		}
	}
	switch {
	case mode == ReadyMessage && !w.IPC:
		err = errors.New("ready by message, but it has no channel; set IPC")
	case mode == ReadyNotify && !w.Notify:
		err = errors.New("ready by notification, but it has no socket for them; set Notify")
	case mode == ReadyLine && w.ReadyPattern == nil:
		err = errors.New("ready by a line, but by which? set ReadyPattern")
	case mode == ReadyLine && isFile(w.Stdout) && isFile(w.Stderr):
		err = errors.New("ready by a line, but its output goes to files and not through this process; set Stdout to another writer")
	case mode == ReadyPort && w.ReadyAddress == "":
		err = errors.New("ready by a port, but by which? set ReadyAddress")
	case mode < ReadyAuto || mode > ReadyPort:
		err = fmt.Errorf("unknown ReadyMode %d", int(mode))
	}
	return mode, err
}

// maxReadyLine is how much of a line is matched.
const maxReadyLine = 64 << 10

// A lineWatch looks for a line in what it hands on.
type lineWatch struct {
	dst     io.Writer // nil: nobody else wants it
	pattern *regexp.Regexp
	found   func() // nil once it was called

	line []byte // the beginning of the line that has no end yet
}

// Write has one caller at a time.
func (l *lineWatch) Write(p []byte) (int, error) {
	l.look(p)
	if l.dst == nil {
		return len(p), nil
	}
	return l.dst.Write(p)
}

func (l *lineWatch) look(p []byte) {
	for l.found != nil {
		part, rest, ended := bytes.Cut(p, []byte("\n"))
		l.line = append(l.line, part[:min(len(part), maxReadyLine-len(l.line))]...)
		if !ended {
			return
		}
		l.match()
		p = rest
	}
}

// match looks at a line that is complete, be it by the end of the output.
func (l *lineWatch) match() {
	if l.found != nil && l.pattern.Match(bytes.TrimSuffix(l.line, []byte("\r"))) {
		l.found()
		l.found, l.line = nil, nil
	}
	l.line = l.line[:0]
}

// Between two attempts to connect to a child's port.
const (
	knockFirst = 5 * time.Millisecond
	knockMost  = 250 * time.Millisecond
)

// startKnocking knocks until it is told to stop.
func (g *generation) startKnocking() (stop func()) {
	if g.readiness != ReadyPort {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		g.knock(ctx)
	}()
	return func() { cancel(); <-done }
}

// knock connects to the child's port until that works. No system tells when a
// port is opened, so there is nothing to wait for but the next attempt.
func (g *generation) knock(ctx context.Context) {
	dialer := net.Dialer{Timeout: time.Second}
	for pause := knockFirst; ; pause = min(2*pause, knockMost) {
		if conn, err := dialer.DialContext(ctx, "tcp", g.w.ReadyAddress); err == nil {
			_ = conn.Close()
			g.w.becomeReady(g)
			return
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

func isFile(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && f != nil
}
