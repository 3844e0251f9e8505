package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// hangGuard ends a test that would wait for ever.
const hangGuard = 30 * time.Second

// scriptCommands are what scripts can do beyond testscript's own commands.
func scriptCommands() map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){
		"await":    await,
		"exits":    exits,
		"notified": notified,
		"occupy":   occupy,
		"quiet":    quiet,
	}
}

// exits runs a program and checks its exit code: "exits 6 poppobuilder ...".
// As with exec, stdout and stderr can be checked after it.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARG...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	if got := runProgram(ts, args[1:]); got != want {
		ts.Fatalf("%s exited with %d, want %d", strings.Join(args[1:], " "), got, want)
	}
}

// runProgram runs a program and returns its exit code.
func runProgram(ts *testscript.TestScript, command []string) int {
	err := ts.Exec(command[0], command[1:]...)
	if ended, ok := errors.AsType[*exec.ExitError](err); ok {
		return ended.ExitCode()
	}
	ts.Check(err)
	return 0
}

// await runs a program again and again until its standard output matches:
// "await PATTERN PROGRAM ARG...". It is for events in the daemon that nothing
// outside it is told about.
func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: await PATTERN PROGRAM ARG...")
	}
	pattern, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for guard := time.After(hangGuard); ; {
		runProgram(ts, args[1:])
		out := ts.ReadFile("stdout")
		if pattern.MatchString(out) {
			return
		}
		select {
		case <-tick.C:
		case <-guard:
			ts.Fatalf("%s never printed %q, but:\n%s", strings.Join(args[1:], " "), args[0], out)
		}
	}
}

// quiet checks that the last command's standard error is what people can read:
// a few sentences, and no stack trace.
func quiet(ts *testscript.TestScript, neg bool, args []string) {
	text := ts.ReadFile("stderr")
	for _, bad := range []string{"goroutine ", "panic:", ".go:", "%!"} {
		if strings.Contains(text, bad) {
			ts.Fatalf("the standard error contains %q:\n%s", bad, text)
		}
	}
}

// occupy listens on a port until the script ends, and puts its number into a
// variable.
func occupy(ts *testscript.TestScript, neg bool, args []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { l.Close() })
	ts.Setenv(args[0], strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
}

// notifyKey finds the script's stand-in for systemd's socket.
type notifyKey struct{}

// listenForNotices makes the socket and names it in NOTIFY.
func listenForNotices(env *testscript.Env, dir string) error {
	path := filepath.Join(dir, "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return err
	}
	env.Defer(func() { conn.Close() })
	env.Values[notifyKey{}] = conn
	env.Setenv("NOTIFY", path)
	return nil
}

// notified waits for a line that the daemon sends to its service manager:
// "notified READY=1".
func notified(ts *testscript.TestScript, neg bool, args []string) {
	conn := ts.Value(notifyKey{}).(*net.UnixConn)
	ts.Check(conn.SetReadDeadline(time.Now().Add(hangGuard)))
	buf := make([]byte, 4<<10)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			ts.Fatalf("no notice %s: %v", args[0], err)
		}
		for line := range strings.Lines(string(buf[:n])) {
			if strings.TrimSpace(line) == args[0] {
				return
			}
		}
	}
}

// scriptCondition knows [root], for whom permissions do not count.
func scriptCondition(name string) (bool, error) {
	if name == "root" {
		return os.Getuid() == 0, nil
	}
	return false, fmt.Errorf("unknown condition %q", name)
}
