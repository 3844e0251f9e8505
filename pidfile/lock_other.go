//go:build !(linux || darwin || dragonfly || freebsd || netbsd || openbsd)

package pidfile

import (
	"errors"
	"io/fs"
	"os"
)

// open is where everything ends on a system without a lock that fits; nothing below is ever reached.
func open(path string, _ int) (*os.File, error) {
	return nil, &fs.PathError{Op: "open", Path: path, Err: errors.ErrUnsupported}
}

func tryLock(*os.File) (bool, error) { return false, errors.ErrUnsupported }

func lockNumber(*os.File) error { return errors.ErrUnsupported }

func unlock(*os.File) error { return errors.ErrUnsupported }

func probe(*os.File) (held, numbered bool, err error) { return false, false, errors.ErrUnsupported }
