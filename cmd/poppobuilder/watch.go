package main

import (
	"context"
	"flag"
	"os"
	"time"

	"golang.org/x/term"
)

// watchFlag gives a command that shows something its --watch.
func watchFlag(fs *flag.FlagSet) *bool {
	return fs.Bool("watch", false, "show it again every second, until Ctrl-C")
}

// watch shows something once, or, if asked to, once a second until Ctrl-C. On a
// terminal it redraws.
func (c *cli) watch(ctx context.Context, again bool, show func(context.Context) error) error {
	if !again {
		return show(ctx)
	}
	ctx, stop := interruptible(ctx)
	defer stop()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if !c.json && isTerminal(c.out.Writer) {
			c.printf("\x1b[H\x1b[2J")
		}
		if err := show(ctx); err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func isTerminal(w any) bool {
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}
