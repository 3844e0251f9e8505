// Command supervise keeps N copies of any command running, with the packages
// of this module and nothing else of the daemon, so that others can measure
// them from outside.
//
//	supervise -n 100 -restart-delay 0s -log-dir DIR -socket PATH -- COMMAND ARG...
//	supervise -status PATH
//
// "{i}" in an argument becomes the copy's number. A copy's output goes to
// DIR/wI.log and its rotated files. TERM and INT stop all copies.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/poppobuilder/poppobuilder/internal/logs"
	"github.com/poppobuilder/poppobuilder/procworker"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "supervise: %v\n", err)
		os.Exit(1)
	}
}

// options are what the command line says.
type options struct {
	status       string // the socket to ask; empty: supervise
	n            int
	restartDelay time.Duration
	stopGrace    time.Duration
	logDir       string
	limits       logs.Limits
	socket       string
	command      []string
}

func run(args []string, out io.Writer) error {
	o, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	if o.status != "" {
		return ask(o.status, out)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	release, err := procworker.Subreaper()
	switch {
	case err == nil:
		defer func() {
			procworker.KillOrphans()
			release()
		}()
	case !errors.Is(err, errors.ErrUnsupported):
		return err
	}
	return supervise(ctx, o)
}

func parse(args []string) (o options, err error) {
	fs := flag.NewFlagSet("supervise", flag.ContinueOnError)
	fs.StringVar(&o.status, "status", "", "print the state of the copies that this `socket` tells of, and end")
	fs.IntVar(&o.n, "n", 1, "`number` of copies")
	fs.DurationVar(&o.restartDelay, "restart-delay", time.Second, "time between the end of a copy and its next start")
	fs.DurationVar(&o.stopGrace, "stop-grace", procworker.DefaultGrace, "time between TERM and KILL")
	fs.StringVar(&o.logDir, "log-dir", "", "`directory` of the copies' output; empty: it is dropped")
	fs.Func("log-max-size", "`size` of one log file, as in 10M; 0: no bound", func(s string) (err error) {
		o.limits.MaxSize, err = size(s)
		return err
	})
	fs.IntVar(&o.limits.MaxFiles, "log-keep", 0, "rotated files to keep of each copy; 0: all")
	fs.StringVar(&o.socket, "socket", "", "`path` of the socket on which -status asks; empty: none")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	o.command = fs.Args()
	switch {
	case o.status == "" && len(o.command) == 0:
		return o, errors.New("no command: put it after --")
	case o.n < 1:
		return o, fmt.Errorf("-n %d: there is at least one copy", o.n)
	case o.restartDelay < 0:
		return o, fmt.Errorf("-restart-delay %v: it is not negative", o.restartDelay)
	}
	return o, nil
}

// size reads a number of bytes with a unit.
func size(s string) (int64, error) {
	shift := map[string]uint{"K": 10, "M": 20, "G": 30}
	for unit, bits := range shift {
		if number, ok := strings.CutSuffix(s, unit); ok {
			n, err := strconv.ParseInt(number, 10, 32)
			return n << bits, err
		}
	}
	return strconv.ParseInt(s, 10, 64)
}
