// Package keeper is the tiny process beside the daemon that outlives it for a
// moment, and ends what the daemon could not end any more because it was
// killed.
//
// The daemon starts it with a pipe as its standard input, the lifeline, and
// writes one line there: a cookie, which is also in the environment of
// everything else that the daemon starts ([Variable]). Then the keeper blocks
// in a read, and nothing wakes it before the daemon is gone, by whatever
// cause. It then gives the built-in workers the time that they need to stop
// their runs politely, and kills what carries the cookie, until nothing does.
//
// # What escapes
//
// Where the workers have cgroups: nothing. Elsewhere a process is found by the
// environment that it was executed with, by the processes above it, and by its
// group. One that was executed with a cleared environment, or has overwritten
// it or made it unreadable (PR_SET_DUMPABLE, prctl(2)), and has left its group,
// and whose parents are dead, cannot be told from a stranger's. One that has
// become another user cannot be killed. And if the keeper is killed at the same
// moment as the daemon and its workers, nobody looks.
package keeper

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/poppobuilder/poppobuilder/internal/worker"
	"github.com/poppobuilder/poppobuilder/procworker"
)

// Variable is the environment variable with the cookies, separated by colons:
// one daemon may have been started by what another one runs.
const Variable = "POPPOBUILDER_KEEPER"

// ReadyLine is what the keeper says when it is on guard.
const ReadyLine = "ready"

const (
	// polite is how long built-in workers may take to stop their runs: 2 s
	// for one that ignores TERM, and some. All has to be over within 5 s.
	polite = 2500 * time.Millisecond
	// huntTimeout bounds the killing, for what the kernel does not let die.
	huntTimeout = 30 * time.Second
)

// Options tell a keeper what it needs to know.
type Options struct {
	Lock     string    // the file that it locks while it is there, for the next daemon
	Presence string    // the file that built-in workers lock
	Cgroup   string    // that holds all workers; empty: none does
	Ready    io.Writer // gets ReadyLine
	Log      io.Writer // gets what it has done, if there was anything to do
}

// Run guards until lifeline ends, ends what is left, and returns.
func Run(ctx context.Context, lifeline io.Reader, o Options) error {
	in := bufio.NewReaderSize(lifeline, 128)
	line, err := in.ReadString('\n')
	cookie := strings.TrimSuffix(line, "\n")
	if err != nil || cookie == "" {
		return fmt.Errorf("no cookie on the standard input: %w", err)
	}
	release, err := worker.Presence(o.Lock)
	if err != nil {
		return err
	}
	defer release()
	beSmall()
	if _, err := fmt.Fprintln(o.Ready, ReadyLine); err != nil {
		return end(ctx, cookie, o) // the daemon is gone; this may not have been its first keeper
	}
	if _, err := io.Copy(io.Discard, in); err != nil {
		return fmt.Errorf("read the lifeline: %w", err)
	}
	return end(ctx, cookie, o)
}

// end ends what the daemon has left.
func end(ctx context.Context, cookie string, o Options) error {
	wait, cancel := context.WithTimeout(ctx, polite)
	defer cancel()
	_ = worker.AwaitAbsence(wait, o.Presence) // who is late is killed
	ctx, cancel = context.WithTimeout(ctx, huntTimeout)
	defer cancel()
	var cgroupErr error
	if o.Cgroup != "" { // from which nothing escapes
		cgroupErr = procworker.KillCgroup(o.Cgroup)
	}
	killed, err := Hunt(ctx, cookie)
	err = errors.Join(cgroupErr, err)
	if killed > 0 {
		fmt.Fprintf(o.Log, "poppobuilder keeper: killed %d processes that the daemon had left\n", killed)
	}
	return err
}

// Cookies returns the value of [Variable] for what a daemon starts that was
// itself started with environ.
func Cookies(environ []string, cookie string) string {
	for _, entry := range environ {
		if outer, ok := strings.CutPrefix(entry, Variable+"="); ok && outer != "" {
			return outer + ":" + cookie
		}
	}
	return cookie
}

// carries looks for the cookie among those of an environment as /proc shows it.
func carries(environ, cookie string) bool {
	for entry := range strings.SplitSeq(environ, "\x00") {
		if cookies, ok := strings.CutPrefix(entry, Variable+"="); ok && slices.Contains(strings.Split(cookies, ":"), cookie) {
			return true
		}
	}
	return false
}
