package main

import (
	"context"

	"github.com/poppobuilder/poppobuilder/internal/master"
)

// masterOptions is what the daemon itself is told.
type masterOptions = master.Options

func runMaster(ctx context.Context, o masterOptions) error { return master.Run(ctx, o) }
