//go:build unix

package signals

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// maxNamed is at least as high as the number of any signal that has a name. Package os/signal knows 1 to 64.
const maxNamed = 64

func nameOf(sig syscall.Signal) string { return unix.SignalName(sig) }

func numberOf(name string) syscall.Signal { return unix.SignalNum(name) }
