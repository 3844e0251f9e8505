package keeper

import (
	"os/exec"
	"strconv"
	"testing"
)

// Who executes program after program is never taken for one that does not carry
// the cookie. With a large environment the kernel takes its time.
func TestSearchWhileProgramsAreExecuted(t *testing.T) {
	t.Parallel()
	const cookie = "biscuit"
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(sh, "-c", `eval "$AGAIN"`)
	cmd.Env = []string{`AGAIN=exec ` + sh + ` -c 'eval "$AGAIN"'`, Variable + "=" + cookie}
	for i := range 5000 {
		cmd.Env = append(cmd.Env, "V"+strconv.Itoa(i)+"=")
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	strange, unclear := 0, 0
	for range 2000 {
		s, err := see(cmd.Process.Pid)
		if err != nil || s.dead() {
			t.Fatalf("it has ended: %+v", s)
		}
		switch carries, soon := search(s, cookie); {
		case soon:
			unclear++
		case !carries:
			strange++
		}
	}
	if strange > 0 || unclear == 0 {
		t.Errorf("%d times a stranger, %d unclear: want 0 and some", strange, unclear)
	}
}

// Who has no environment is seen to have none, and not looked at for ever.
func TestSearchWithoutEnvironment(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("sleep", "1000")
	cmd.Env = []string{}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	for range 100_000 { // it may not have arrived yet
		s, err := see(cmd.Process.Pid)
		if err != nil {
			t.Fatal("it is not seen")
		}
		switch carries, unclear := search(s, "x"); {
		case carries:
			t.Fatal("it carries a cookie")
		case !unclear:
			return
		}
	}
	t.Error("it stays unclear")
}
