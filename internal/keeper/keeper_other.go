//go:build !linux

package keeper

import (
	"context"
	"errors"
)

// Supported reports whether this system has keepers.
const Supported = false

// Hunt is not supported on this system: the error is [errors.ErrUnsupported].
func Hunt(context.Context, string) (killed int, err error) { return 0, errors.ErrUnsupported }

func beSmall() {}
