package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// readyFDVariable names, for a daemon in the background, the descriptor on
// which the command that started it waits.
const readyFDVariable = "POPPOBUILDER_READY_FD"

// A readyReport is the one line that a starting daemon writes: that it is
// ready, or why it will never be.
type readyReport struct {
	Ready bool   `json:"ready,omitempty"`
	PID   int    `json:"pid,omitempty"`
	Error string `json:"error,omitempty"`
	Code  string `json:"code,omitempty"`
	Exit  int    `json:"exit,omitempty"`
}

// readiness is the daemon's end of the pipe. A nil readiness is that of a
// daemon for which nobody waits: its methods do nothing.
type readiness struct{ pipe io.WriteCloser }

// readinessFromEnv finds the descriptor in environ. It returns the environment
// without it, for the daemon's own children, which must not inherit the
// descriptor either.
func readinessFromEnv(environ []string) (*readiness, []string, error) {
	var value string
	var rest []string
	for _, entry := range environ {
		if after, ok := strings.CutPrefix(entry, readyFDVariable+"="); ok {
			value = after
			continue
		}
		rest = append(rest, entry)
	}
	if value == "" {
		return nil, rest, nil
	}
	fd, err := strconv.Atoi(value)
	if err != nil || fd < 3 {
		return nil, rest, fmt.Errorf("%s=%q is no descriptor: unset it", readyFDVariable, value)
	}
	syscall.CloseOnExec(fd)
	pipe := os.NewFile(uintptr(fd), "readiness pipe")
	if _, err := pipe.Stat(); err != nil {
		return nil, rest, fmt.Errorf("%s=%q is not open: unset it", readyFDVariable, value)
	}
	return &readiness{pipe: pipe}, rest, nil
}

// ready tells that the daemon is up. It may be called more than once.
func (r *readiness) ready() error {
	return r.report(readyReport{Ready: true, PID: os.Getpid()})
}

// failed tells why the daemon did not come up, unless it did.
func (r *readiness) failed(err error) error {
	code, exit := classify(err)
	return r.report(readyReport{Error: message(err), Code: code, Exit: exit})
}

func (r *readiness) report(report readyReport) error {
	if r == nil || r.pipe == nil {
		return nil
	}
	err := json.NewEncoder(r.pipe).Encode(report)
	err = errors.Join(err, r.pipe.Close())
	r.pipe = nil
	if errors.Is(err, syscall.EPIPE) {
		return nil // nobody waits any more
	}
	return err
}

// errSilent says that the daemon ended without a report.
var errSilent = errors.New("the daemon ended before it was ready")

// readReport waits for the report of a daemon that is starting.
func readReport(r io.Reader) (readyReport, error) {
	line, err := bufio.NewReader(r).ReadBytes('\n')
	if errors.Is(err, io.EOF) {
		return readyReport{}, errSilent
	}
	if err != nil {
		return readyReport{}, fmt.Errorf("wait for the daemon: %w", err)
	}
	var report readyReport
	if err := json.Unmarshal(line, &report); err != nil {
		return readyReport{}, fmt.Errorf("read the daemon's report: %w", err)
	}
	return report, nil
}
