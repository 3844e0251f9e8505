//go:build unix

package pidfile_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/poppobuilder/poppobuilder/pidfile"
)

// examplePath returns a path in a directory of its own, and what removes that.
func examplePath() (path string, remove func()) {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	return filepath.Join(dir, "daemon.pid"), func() { os.RemoveAll(dir) }
}

// The smallest use: the first one gets the path, the second one learns who has it.
func Example() {
	path, remove := examplePath()
	defer remove()

	f, err := pidfile.Create(path)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer f.Close()

	_, err = pidfile.Create(path)
	var held *pidfile.HeldError
	if errors.As(err, &held) {
		fmt.Println("already running, as this process:", held.PID == os.Getpid())
	}
	// Output: already running, as this process: true
}

// How does a daemon keep its number back until it can be talked to?
func ExampleLock() {
	path, remove := examplePath()
	defer remove()

	f, err := pidfile.Lock(path) // no second daemon from here on
	if err != nil {
		fmt.Println(err)
		return
	}
	defer f.Close()

	show := func() {
		info, err := pidfile.Read(path)
		fmt.Println(info.State, info.PID == os.Getpid(), err)
	}
	show()
	// Here it opens its listeners.
	if err := f.Write(); err != nil {
		fmt.Println(err)
		return
	}
	show()
	// Output:
	// held false <nil>
	// held true <nil>
}

// How does a command tell a daemon to reload, and a daemon that has crashed from one that never ran?
func ExampleSignal() {
	path, remove := examplePath()
	defer remove()

	reload := func() {
		_, err := pidfile.Signal(path, syscall.SIGHUP)
		var e *pidfile.NotHeldError
		if errors.As(err, &e) {
			fmt.Println("not running:", e.Info.State)
		}
	}
	reload()
	if err := os.WriteFile(path, []byte("4711\n"), 0o644); err != nil {
		fmt.Println(err)
	}
	reload()
	// Output:
	// not running: absent
	// not running: stale
}
