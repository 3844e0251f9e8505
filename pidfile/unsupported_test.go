//go:build windows

package pidfile_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/poppobuilder/poppobuilder/pidfile"
)

func TestUnsupported(t *testing.T) {
	p := filepath.Join(t.TempDir(), "daemon.pid")
	_, cerr := pidfile.Create(p)
	_, rerr := pidfile.Read(p)
	_, serr := pidfile.Signal(p, os.Kill)
	for what, err := range map[string]error{"Create": cerr, "Read": rerr, "Signal": serr, "Wait": pidfile.Wait(t.Context(), p)} {
		if !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%s: got %v, want errors.ErrUnsupported", what, err)
		}
	}
}
