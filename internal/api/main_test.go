package api_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/poppobuilder/poppobuilder/internal/api"
)

// envAskAs makes the test binary a client that runs as another user: it asks
// the daemon on the socket os.Args[1] for its status.
const envAskAs = "POPPOBUILDER_API_TEST_ASK_AS"

func TestMain(m *testing.M) {
	if uid := os.Getenv(envAskAs); uid != "" {
		askAs(uid, os.Args[1])
		return
	}
	goleak.VerifyTestMain(m)
}

// askAs prints the code of the problem, or "ok".
func askAs(uid, socket string) {
	n, err := strconv.Atoi(uid)
	if err == nil {
		err = errors.Join(syscall.Setgroups(nil), syscall.Setgid(n), syscall.Setuid(n))
	}
	if err != nil {
		fmt.Println("become another user:", err)
		return
	}
	_, err = api.NewClient(socket).Status(context.Background())
	var p *api.Problem
	switch {
	case err == nil:
		io.WriteString(os.Stdout, "ok")
	case errors.As(err, &p):
		io.WriteString(os.Stdout, p.Code)
	default:
		fmt.Print(err)
	}
}
