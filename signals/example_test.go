//go:build unix

package signals_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/oklog/run"

	"github.com/poppobuilder/poppobuilder/signals"
)

// raise sends sig to this process.
func raise(sig os.Signal) {
	self, err := os.FindProcess(os.Getpid())
	if err == nil {
		err = self.Signal(sig)
	}
	if err != nil {
		fmt.Println(err)
	}
}

// The smallest use: one signal is dealt with, another one ends the program.
func Example() {
	errStop := errors.New("asked to stop")
	router := signals.Listen(signals.Routes{
		syscall.SIGUSR1: func(context.Context, os.Signal) error {
			fmt.Println("dump of the state")
			raise(syscall.SIGUSR2)
			return nil
		},
		syscall.SIGUSR2: func(context.Context, os.Signal) error { return errStop },
	})
	defer router.Close()

	raise(syscall.SIGUSR1)
	fmt.Println(router.Serve(context.Background()))
	// Output:
	// dump of the state
	// handle SIGUSR2: asked to stop
}

// How does a router join a run.Group? As an actor: its error stops the group, and the group's end stops it. The signals
// are given back only after the last actor has ended.
func ExampleRouter_Actor() {
	router := signals.Listen(signals.Routes{
		syscall.SIGVTALRM: func(context.Context, os.Signal) error { return errors.New("asked to stop") },
	})
	defer router.Close()

	var g run.Group
	g.Add(router.Actor())
	stop := make(chan struct{})
	g.Add(func() error { <-stop; return nil }, func(error) { close(stop) })

	raise(syscall.SIGVTALRM)
	fmt.Println(g.Run())
	// Output: handle SIGVTALRM: asked to stop
}

// What is a name good for? It goes into configuration files and comes back.
func ExampleParse() {
	for _, name := range []string{"HUP", "sigterm", "1"} {
		sig, err := signals.Parse(name)
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println(signals.Name(sig))
	}
	// Output:
	// SIGHUP
	// SIGTERM
	// SIGHUP
}
