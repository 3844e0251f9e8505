//go:build !unix

package procworker

import (
	"errors"
)

// A notifySocket cannot be had on this system.
type notifySocket struct{ address string }

func newNotifySocket(*Credential) (*notifySocket, error) { return nil, errors.ErrUnsupported }

func (*notifySocket) next() (notification, error) { return notification{}, errors.ErrUnsupported }
func (*notifySocket) drain()                      {}
func (*notifySocket) close()                      {}

func (*process) sent(sender) bool { return false }
