package keeper

import (
	"os/exec"
	"strconv"
	"testing"
)

// Who executes program after program is never taken for one that has no
// environment. With a large one the kernel takes its time.
func TestSeeWhoExecutesPrograms(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("sh", "-c", `eval "$AGAIN"`)
	cmd.Env = []string{`AGAIN=exec sh -c 'eval "$AGAIN"'`}
	for i := range 5000 {
		cmd.Env = append(cmd.Env, "V"+strconv.Itoa(i)+"=")
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	for range 10_000 {
		if s, ok := see(cmd.Process.Pid); !ok || s.bare {
			t.Fatalf("%+v, %v", s, ok)
		}
	}
}

// Who has no environment is seen to have none, and not looked at for ever.
func TestSeeWhoHasNoEnvironment(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("sleep", "1000")
	cmd.Env = []string{}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	for { // it may not have arrived yet
		s, ok := see(cmd.Process.Pid)
		if !ok {
			t.Fatal("it is not seen")
		}
		if s.bare {
			return
		}
	}
}
