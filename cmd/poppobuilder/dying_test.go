//go:build linux

package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/poppobuilder/poppobuilder/pidfile"
)

// A daemon that was killed holds its lock and its socket for a moment: whoever
// asks it then is let in, and never answered. To start meanwhile is to wait until
// it is gone. What it has got of the question makes another error each time:
// nothing read is a reset, all read an end.
func TestStartMeetsADyingDaemon(t *testing.T) {
	t.Parallel()
	h := newHome(t, `{"daemon":{"maxProcesses":1,"port":null}}`)
	if err := os.MkdirAll(filepath.Dir(h.paths.Socket), 0o700); err != nil {
		t.Fatal(err)
	}
	lock, err := pidfile.Create(h.paths.PIDFile)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("unix", h.paths.Socket)
	if err != nil {
		t.Fatal(err)
	}
	const questions = 4
	died := make(chan int, 1)
	go func() {
		asked := dieSlowly(listener, questions)
		if err := lock.Close(); err != nil { // the kernel's last step
			t.Error(err)
		}
		died <- asked
	}()
	out, exit := h.run("daemon", "start")
	listener.Close()
	if asked := <-died; asked != questions {
		t.Errorf("it was asked %d times, want %d", asked, questions)
	}
	if exit != 0 || !strings.Contains(out, "Daemon started") {
		t.Errorf("start beside a dying daemon exits with %d: %s", exit, out)
	}
	if s := h.status(); !s.Running || s.PID == os.Getpid() {
		t.Errorf("status is %+v", s)
	}
	h.must("daemon", "stop")
}

// dieSlowly takes connections, at most that many, and answers none. It returns
// how many there were.
func dieSlowly(listener net.Listener, questions int) (asked int) {
	defer listener.Close() // and so the socket is gone
	for ; asked < questions; asked++ {
		conn, err := listener.Accept()
		if err != nil {
			return asked
		}
		if asked%2 == 1 {
			_, _ = conn.Read(make([]byte, 4096))
		}
		_ = conn.Close()
	}
	return asked
}
