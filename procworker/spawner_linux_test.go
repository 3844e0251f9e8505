package procworker_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// Children are not among those of the main thread, where the orphans are: at
// the end of each, all that is there is looked at.
func TestChildrenAreNotAmongTheOrphans(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(self)
	// With one processor the main thread would be the one that starts them.
	c.Env = append(os.Environ(), envChild+"=parent", "GOMAXPROCS=1")
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = c.Process.Kill() // its child dies with it
		_ = c.Wait()
	}()
	child, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", c.Process.Pid))
	if err != nil {
		t.Skip(err)
	}
	if slices.Contains(strings.Fields(string(children)), strings.TrimSpace(child)) {
		t.Errorf("child %s is among %s", child, children)
	}
}
