package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/poppobuilder/poppobuilder/internal/logs"
	"github.com/poppobuilder/poppobuilder/procworker"
	"github.com/poppobuilder/poppobuilder/supervisor"
)

// A replica is one of the copies. Each restarts by itself, so that one delays
// no other.
type replica struct {
	worker    *procworker.Worker
	restarter *supervisor.Restarter
	lines     *logs.Lines  // nil: the output is dropped
	log       *logs.Writer // what lines writes to
}

func newReplica(i int, o options) *replica {
	number := strconv.Itoa(i)
	command := make([]string, len(o.command))
	for k, word := range o.command {
		command[k] = strings.ReplaceAll(word, "{i}", number)
	}
	r := &replica{worker: &procworker.Worker{
		Name:    "w" + number,
		Command: command,
		Stop:    procworker.Stop{Grace: orNone(o.stopGrace)},
	}}
	if o.logDir != "" {
		r.log = logs.New(filepath.Join(o.logDir, "w"+number+".log"), o.limits)
		r.lines = logs.NewLines(r.log, 0)
		r.worker.Stdout, r.worker.Stderr = r.lines, r.lines
	}
	r.restarter = supervisor.NewRestarter(r.worker, supervisor.Options{
		Name:    r.worker.Name,
		Backoff: supervisor.Backoff{InitialDelay: orNone(o.restartDelay), MaxDelay: max(o.restartDelay, time.Nanosecond), Multiplier: 1},
	})
	return r
}

// orNone says 0 as the libraries do, to which it is the default.
func orNone(d time.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return d
}

func (r *replica) close() {
	if r.log != nil {
		_ = r.lines.Close()
		_ = r.log.Close()
	}
}

// supervise runs the copies until ctx ends, and returns when all are gone.
func supervise(ctx context.Context, o options) error {
	if o.logDir != "" {
		if err := os.MkdirAll(o.logDir, 0o755); err != nil {
			return fmt.Errorf("create the folder of logs: %w", err)
		}
	}
	fleet := make([]*replica, o.n)
	for i := range fleet {
		fleet[i] = newReplica(i, o)
	}
	if o.socket != "" {
		listener, err := net.Listen("unix", o.socket)
		if err != nil {
			return fmt.Errorf("listen for questions: %w", err)
		}
		answered := make(chan struct{})
		go answer(listener, fleet, answered)
		defer func() {
			listener.Close()
			<-answered
		}()
	}
	var group sync.WaitGroup
	for _, r := range fleet {
		group.Go(func() { _ = r.restarter.Serve(ctx) }) // ctx's error: it restarts for ever
	}
	group.Wait()
	for _, r := range fleet {
		r.close()
	}
	return nil
}
