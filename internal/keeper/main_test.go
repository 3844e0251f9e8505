package keeper_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// play makes the test binary a process to hunt.
var play func()

func TestMain(m *testing.M) {
	if os.Getenv("HEADLESS") != "" {
		play()
	}
	goleak.VerifyTestMain(m)
}
