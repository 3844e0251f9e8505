// Command poppobuilder runs the agents of many projects in a small pool of
// worker processes that they share.
//
//	poppobuilder demo                              # see it work within seconds
//	poppobuilder project add ~/src/shop -- ./agent # add a project
//	poppobuilder daemon start                      # run it, and all others
//
// "poppobuilder help" lists the commands. Data goes to the standard output,
// messages to the standard error. Exit codes are those of the LSB's init
// scripts: see errors.go.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	_ "time/tzdata" // for machines that have no zones of their own
)

func main() {
	os.Exit(program{
		Stdin:   os.Stdin,
		Stdout:  os.Stdout,
		Stderr:  os.Stderr,
		Environ: os.Environ(),
	}.run(context.Background(), os.Args[1:]))
}

// A program is everything of the outside world that the commands touch, apart
// from files and the daemon.
type program struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Environ        []string
	// Executable is how to start this program again, for a daemon in the
	// background and for workers. Empty: what [os.Executable] says.
	Executable []string
	// NoCgroups leaves out cgroups, where there are any: for tests of what else
	// keeps processes together.
	NoCgroups bool
}

// run carries out one command line and returns its exit code.
func (p program) run(ctx context.Context, args []string) int {
	out := &stickyWriter{Writer: p.Stdout}
	c := &cli{program: p, out: out, json: wantsJSON(args)}
	c.Stdout = out
	err := c.execute(ctx, args)
	if err == nil && out.err != nil {
		err = fmt.Errorf("write the output: %w", out.err)
	}
	return c.report(err)
}

// executable returns the command line that starts this program again.
func (p program) executable() ([]string, error) {
	if len(p.Executable) > 0 {
		return p.Executable, nil
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program's own file: %w", err)
	}
	return []string{self}, nil
}
