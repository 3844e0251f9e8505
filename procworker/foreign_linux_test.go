package procworker_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/poppobuilder/poppobuilder/procworker"
)

// nobody is a user without rights.
const nobody = 65534

// A member of the group that has become another user, like what sudo starts,
// cannot be killed: that must not keep Serve from returning.
func TestForeignMemberIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root can make a process of another user")
	}
	// A set-uid copy of this program, which only root and nobody can reach.
	dir, err := os.MkdirTemp("", "procworker")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chown(dir, 0, nobody); err != nil {
		t.Skip(err)
	}
	if err := os.Chmod(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]os.FileMode{"lodger": 0o755, "usurper": 0o755 | os.ModeSetuid} {
		path := filepath.Join(dir, name)
		copySelf(t, path)
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	w := asChild(t, "lodger "+dir)
	w.Command = []string{filepath.Join(dir, "lodger")}
	w.IPC = false
	mark(t, w)
	err = serve(t, w).end()
	var exit *procworker.ExitError
	if errors.As(err, &exit) && exit.Code == cannot {
		t.Skip("set-uid programs do not work here")
	}
	if err != nil {
		t.Error(err)
	}
}

// copySelf copies this program. Another process writes the copy: if this one had
// it open for writing, whatever another test forks at that moment would have it
// open, too, and as long as somebody has, nobody can execute it (ETXTBSY).
func copySelf(t *testing.T, path string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cp", self, path).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// playLodger becomes nobody, and runs a worker with a usurper in its group.
func playLodger(dir string) int {
	if syscall.Setgroups(nil) != nil || syscall.Setresgid(nobody, nobody, nobody) != nil || syscall.Setresuid(nobody, nobody, nobody) != nil {
		return cannot
	}
	words, theirs, err := os.Pipe()
	if err != nil {
		return 2
	}
	w := &procworker.Worker{
		Command:  []string{"sh", "-c", `"$0" & sleep 1000`, filepath.Join(dir, "usurper")},
		ExtraEnv: []string{envChild + "=usurper"},
		Stdout:   theirs, Stderr: os.Stderr, Dir: "/",
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	result := make(chan error, 1)
	go func() { result <- w.Serve(ctx) }()
	line, err := bufio.NewReader(words).ReadString('\n')
	if err != nil {
		return 3
	}
	if line != "0\n" {
		return cannot
	}
	cancel()
	select {
	case <-result:
		return 0
	case <-time.After(hangGuard / 2):
		fmt.Fprintln(os.Stderr, "Serve does not return")
		return 1
	}
}

// playUsurper becomes root for good, and says so.
func playUsurper(string) int {
	_ = syscall.Setresuid(0, 0, 0)
	fmt.Println(os.Getuid())
	time.Sleep(hangGuard)
	return 0
}
