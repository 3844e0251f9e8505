//go:build unix

package procworker_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/poppobuilder/poppobuilder/procworker"
	"github.com/poppobuilder/poppobuilder/procworker/ipc"
)

func ExampleWorker() {
	w := &procworker.Worker{
		Name:    "greeter",
		Command: []string{"sh", "-c", `echo '{"type":"ready"}' >&3; read line <&3; echo "$line"; exit 3`},
		IPC:     true,
		Stdout:  os.Stdout,
	}
	err := w.ServeReady(context.Background(), func() {
		_ = w.Send(context.Background(), ipc.Cancel{Run: "7", Reason: "enough"})
	})
	var exit *procworker.ExitError
	if errors.As(err, &exit) {
		fmt.Println("code", exit.Code)
	}
	// Output:
	// {"type":"cancel","run":"7","reason":"enough"}
	// code 3
}

func ExampleWorker_stop() {
	ctx, cancel := context.WithCancel(context.Background())
	w := &procworker.Worker{
		Command: []string{"sh", "-c", `trap "" TERM; echo '{"type":"ready"}' >&3; while :; do sleep 1; done`},
		IPC:     true,
		Stop:    procworker.Stop{Grace: 50 * time.Millisecond},
	}
	err := w.ServeReady(ctx, cancel) // stopped as soon as it is ready
	fmt.Println(err)
	fmt.Println(w.Snapshot().LastExit.Signal)
	// Output:
	// context canceled
	// SIGKILL
}
