//go:build unix && !linux

package worker

import (
	"fmt"
	"os"
)

// commandFiles opens a command's standard input, and the pipe of its output.
func commandFiles() (stdin, r, w *os.File, err error) {
	if stdin, err = os.Open(os.DevNull); err != nil {
		return nil, nil, nil, fmt.Errorf("open the command's input: %w", err)
	}
	if r, w, err = os.Pipe(); err != nil {
		stdin.Close()
		return nil, nil, nil, fmt.Errorf("make the command's output pipe: %w", err)
	}
	return stdin, r, w, nil
}
