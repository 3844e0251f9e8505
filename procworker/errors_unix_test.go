//go:build unix

package procworker_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/poppobuilder/poppobuilder/procworker"
)

// Each errno in the form in which a start returns it.
func TestSpawnErrorHost(t *testing.T) {
	t.Parallel()
	tests := []struct {
		err  error
		want bool
	}{
		{syscall.EMFILE, true},
		{syscall.ENFILE, true},
		{syscall.EAGAIN, true},
		{syscall.ENOMEM, true},
		{syscall.ETXTBSY, true},
		{syscall.ENOENT, false},
		{syscall.EACCES, false},
		{syscall.EPERM, false},
		{syscall.ENOEXEC, false},
		{syscall.E2BIG, false},
		{syscall.ENOTDIR, false},
		{exec.ErrNotFound, false},
		{fs.ErrNotExist, false},
		{errors.New("no command"), false},
	}
	for _, tt := range tests {
		for _, err := range []error{
			tt.err,
			&os.PathError{Op: "fork/exec", Path: "/bin/sh", Err: tt.err},
			os.NewSyscallError("socketpair", tt.err),
			fmt.Errorf("working directory: %w", tt.err),
		} {
			spawn := &procworker.SpawnError{Name: "w", Command: "/bin/sh", Err: err}
			if got := spawn.Host(); got != tt.want {
				t.Errorf("Host of %v = %v, want %v", err, got, tt.want)
			}
			if got := strings.Contains(spawn.Error(), "try again later"); got != tt.want {
				t.Errorf("the text is %q", spawn)
			}
		}
	}
}
