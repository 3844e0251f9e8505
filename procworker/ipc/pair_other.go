//go:build !unix

package ipc

import (
	"errors"
	"fmt"
	"os"
)

// Pair is not supported on this system: the error is [errors.ErrUnsupported].
func Pair() (parent, child *os.File, err error) {
	return nil, nil, fmt.Errorf("make a worker channel: %w", errors.ErrUnsupported)
}

// FromEnv is not supported on this system: the error is both [ErrNoChannel]
// and [errors.ErrUnsupported].
func FromEnv() (*Conn, error) {
	return nil, fmt.Errorf("%w: %w", ErrNoChannel, errors.ErrUnsupported)
}
