//go:build unix

package signals_test

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// roleEnv makes this test binary run one of the child programs in process_test.go instead of the tests.
const roleEnv = "SIGNALS_TEST_ROLE"

func TestMain(m *testing.M) {
	if role := os.Getenv(roleEnv); role != "" {
		run, ok := roles[role]
		if !ok {
			fmt.Fprintln(os.Stderr, "unknown role", role)
			os.Exit(2)
		}
		run()
		return
	}
	goleak.VerifyTestMain(m)
}
