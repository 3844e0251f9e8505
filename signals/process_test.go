//go:build unix

package signals_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/poppobuilder/poppobuilder/signals"
)

// roles are the programs that the tests below run as child processes. They say on stdout what happens, and read stdin
// where the parent decides when to go on.
var roles = map[string]func(){
	"early":  childEarly,
	"second": childSecond,
	"closed": childClosed,
	"storm":  childStorm,
	"burst":  childBurst,
}

func say(_ context.Context, sig os.Signal) error {
	fmt.Println(signals.Name(sig))
	return nil
}

func readLine() {
	var line string
	fmt.Scanln(&line)
}

// child is a running role.
type child struct {
	t     *testing.T
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines *bufio.Scanner
}

// start runs role. The child is killed if it is still there after a minute, so that no test hangs.
func start(t *testing.T, role string, args ...string) *child {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(os.Environ(), roleEnv+"="+role)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		cmd.Wait()
	})
	return &child{t: t, cmd: cmd, stdin: stdin, lines: bufio.NewScanner(stdout)}
}

func (c *child) signal(sigs ...os.Signal) {
	c.t.Helper()
	for _, sig := range sigs {
		if err := c.cmd.Process.Signal(sig); err != nil {
			c.t.Fatalf("signal child: %v", err)
		}
	}
}

// line waits for the child's next line.
func (c *child) line() string {
	c.t.Helper()
	if !c.lines.Scan() {
		c.t.Fatalf("the child said no more: %v, %v", c.lines.Err(), c.cmd.Wait())
	}
	return c.lines.Text()
}

func (c *child) expect(lines ...string) {
	c.t.Helper()
	for _, line := range lines {
		if got := c.line(); got != line {
			c.t.Fatalf("the child said %q, want %q", got, line)
		}
	}
}

func (c *child) letGo() {
	c.t.Helper()
	if _, err := io.WriteString(c.stdin, "go\n"); err != nil {
		c.t.Fatal(err)
	}
}

// wait waits for the child's end and returns how it ended.
func (c *child) wait() string {
	c.t.Helper()
	if c.lines.Scan() {
		c.t.Fatalf("the child said %q, want nothing more", c.lines.Text())
	}
	c.cmd.Wait()
	return c.cmd.ProcessState.String()
}

func childEarly() {
	router := signals.Listen(signals.Routes{syscall.SIGTERM: say, syscall.SIGHUP: func(ctx context.Context, sig os.Signal) error {
		say(ctx, sig)
		return errors.New("enough")
	}})
	defer router.Close()
	fmt.Println("listening")
	readLine()
	fmt.Println(router.Serve(context.Background()))
}

// Signals that come before Serve do not kill; they are handled when it starts.
func TestProcess_beforeServe(t *testing.T) {
	t.Parallel()
	c := start(t, "early")
	c.expect("listening")
	c.signal(syscall.SIGTERM)
	c.letGo()
	c.expect("SIGTERM")
	c.signal(syscall.SIGHUP)
	c.expect("SIGHUP", "handle SIGHUP: enough")
	want(t, "end", c.wait(), "exit status 0")
}

func childSecond() {
	calls := 0
	router := signals.Listen(signals.Routes{syscall.SIGTERM: func(context.Context, os.Signal) error {
		calls++
		return fmt.Errorf("call %d", calls)
	}})
	defer router.Close()
	fmt.Println("listening")
	fmt.Println(router.Serve(context.Background()))
	readLine() // winding down
	fmt.Println(router.Serve(context.Background()))
}

// A second SIGTERM while the program winds down is still the router's.
func TestProcess_secondTerm(t *testing.T) {
	t.Parallel()
	c := start(t, "second")
	c.expect("listening")
	c.signal(syscall.SIGTERM)
	c.expect("handle SIGTERM: call 1")
	c.signal(syscall.SIGTERM)
	c.letGo()
	c.expect("handle SIGTERM: call 2")
	want(t, "end", c.wait(), "exit status 0")
}

func childClosed() {
	router := signals.Listen(signals.Routes{syscall.SIGTERM: say})
	router.Close()
	fmt.Println("closed")
	readLine()
}

func TestProcess_defaultAfterClose(t *testing.T) {
	t.Parallel()
	c := start(t, "closed")
	c.expect("closed")
	c.signal(syscall.SIGTERM)
	want(t, "end", c.wait(), "signal: terminated")
}

func childStorm() {
	router := signals.Listen(signals.Routes{
		syscall.SIGUSR1: func(ctx context.Context, sig os.Signal) error {
			say(ctx, sig)
			readLine()
			return nil
		},
		syscall.SIGHUP: say, syscall.SIGINT: say, syscall.SIGWINCH: say, syscall.SIGTERM: say, syscall.SIGUSR2: nil,
		syscall.SIGQUIT: func(context.Context, os.Signal) error { return errors.New("enough") },
	})
	// It is not closed: after Close, a late SIGHUP of the storm would end the child.
	fmt.Println("listening")
	fmt.Println(router.Serve(context.Background()))
}

// However many signals come while a handler runs, none of the others is lost, and the ignored one does nothing.
func TestProcess_storm(t *testing.T) {
	t.Parallel()
	c := start(t, "storm")
	c.expect("listening")
	c.signal(syscall.SIGUSR1)
	c.expect("SIGUSR1")
	storm := func() {
		for range 1000 {
			c.signal(syscall.SIGHUP, syscall.SIGUSR2)
		}
	}
	storm()
	c.signal(syscall.SIGINT)
	storm()
	c.signal(syscall.SIGTERM, syscall.SIGWINCH)
	storm()
	c.letGo()
	counts := map[string]int{}
	for counts["SIGINT"] == 0 || counts["SIGTERM"] == 0 || counts["SIGWINCH"] == 0 || counts["SIGHUP"] == 0 {
		counts[c.line()]++
	}
	c.signal(syscall.SIGQUIT)
	for line := ""; line != "handle SIGQUIT: enough"; {
		line = c.line()
		counts[line]++
	}
	for _, name := range []string{"SIGINT", "SIGTERM", "SIGWINCH"} {
		if counts[name] != 1 {
			t.Errorf("%s was sent once and handled %d times", name, counts[name])
		}
	}
	if n := counts["SIGUSR2"]; n != 0 {
		t.Errorf("SIGUSR2 has a nil handler and was handled %d times", n)
	}
	want(t, "end", c.wait(), "exit status 0")
}

func childBurst() {
	router := signals.Listen(signals.Routes{syscall.SIGHUP: func(context.Context, os.Signal) error {
		text, err := os.ReadFile(os.Args[1])
		fmt.Println(string(text))
		return err
	}})
	defer router.Close()
	fmt.Println("listening")
	router.Serve(context.Background())
}

// After a burst of reloads, the last call has seen the last state.
func TestProcess_burst(t *testing.T) {
	t.Parallel()
	state := filepath.Join(t.TempDir(), "state")
	c := start(t, "burst", state)
	c.expect("listening")
	const last = 1000
	go func() {
		for i := 1; i <= last; i++ {
			// Written beside and renamed, so that the child always reads a whole number.
			if os.WriteFile(state+".new", []byte(strconv.Itoa(i)), 0o600) != nil || os.Rename(state+".new", state) != nil {
				return
			}
			c.cmd.Process.Signal(syscall.SIGHUP)
		}
	}()
	calls := 1
	for line := c.line(); line != strconv.Itoa(last); line = c.line() {
		if strings.TrimSpace(line) == "" {
			t.Fatal("the child has read an empty state")
		}
		calls++
	}
	t.Logf("%d signals became %d calls", last, calls)
	if calls > last {
		t.Errorf("%d signals became %d calls", last, calls)
	}
}
