package procworker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/poppobuilder/poppobuilder/procworker"
	"github.com/poppobuilder/poppobuilder/procworker/ipc"
)

// envChild makes the test binary play a child instead of running tests.
const envChild = "PROCWORKER_TEST_CHILD"

// hangGuard bounds what would otherwise wait for ever.
const hangGuard = 30 * time.Second

func TestMain(m *testing.M) {
	if role := os.Getenv(envChild); role != "" {
		name, arg, _ := strings.Cut(role, " ")
		play := roles[name]
		if play == nil {
			play = linuxRoles[name]
		}
		if play == nil {
			fmt.Fprintln(os.Stderr, "no such role:", role)
			os.Exit(2)
		}
		os.Exit(play(arg))
	}
	if signal.Ignored(syscall.SIGHUP) { // below nohup; a child would ignore it, too
		signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	}
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/poppobuilder/poppobuilder/procworker.serveForks"))
}

// roles are what the test binary can play. Each returns its exit code.
var roles = map[string]func(arg string) int{
	"echo":   playEcho,
	"exit":   playExit,
	"ignore": playIgnore,
	"speak":  playSpeak,
	"byte":   playByte,
	"parent": playParent,
	"port":   playPort,
}

// A note is a message of the tests' own.
type note struct {
	Type string `json:"-"`
	N    int    `json:"n"`
	Text string `json:"text,omitempty"`
}

func (n note) MessageType() string { return n.Type }

func announce() *ipc.Conn {
	conn, err := ipc.FromEnv()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	if err := conn.Send(context.Background(), ipc.Ready{Protocol: ipc.Version, PID: os.Getpid()}); err != nil {
		os.Exit(4)
	}
	return conn
}

// playEcho answers each "note" with the same, and exits with 0 on "shutdown",
// with 7 at the channel's end.
func playEcho(string) int {
	conn := announce()
	for {
		m, err := conn.Receive()
		if err != nil {
			return 7
		}
		switch m.Type {
		case "shutdown":
			return 0
		case "note":
			var n note
			if m.Decode(&n) != nil {
				return 8
			}
			n.Type = "note"
			if conn.Send(context.Background(), n) != nil {
				return 9
			}
		}
	}
}

func playExit(code string) int {
	n, err := strconv.Atoi(code)
	if err != nil {
		return 2
	}
	return n
}

// playIgnore is ready, and ignores SIGTERM and all messages.
func playIgnore(string) int {
	signal.Ignore(syscall.SIGTERM)
	conn := announce()
	for {
		if _, err := conn.Receive(); err != nil {
			return 7
		}
	}
}

// playSpeak sends that many notes and exits with 5 in the same breath.
func playSpeak(count string) int {
	n, _ := strconv.Atoi(count)
	conn := announce()
	for i := range n {
		if conn.Send(context.Background(), note{Type: "note", N: i}) != nil {
			return 9
		}
	}
	return 5
}

// playByte writes one byte: the bare counterpart of "ready".
func playByte(string) int {
	os.Stdout.Write([]byte("x"))
	var b [1]byte
	os.Stdin.Read(b[:])
	return 0
}

// playParent runs a worker, tells its pid, and waits to be killed.
func playParent(string) int {
	w := &procworker.Worker{Command: []string{"sleep", "1000"}}
	err := w.ServeReady(context.Background(), func() { fmt.Println(w.Snapshot().PID) })
	fmt.Println(err)
	return 1
}

// asChild returns a worker whose child is the test binary in that role.
func asChild(t testing.TB, role string) *procworker.Worker {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return &procworker.Worker{
		Name: t.Name(), Command: []string{self}, ExtraEnv: []string{envChild + "=" + role},
		IPC: true, Stderr: os.Stderr,
	}
}

// shell returns a worker whose child is a shell script with a channel.
func shell(t testing.TB, script string) *procworker.Worker {
	t.Helper()
	return &procworker.Worker{Name: t.Name(), Command: []string{"/bin/sh", "-c", script}, IPC: true, Stderr: os.Stderr}
}

const sayReady = `echo '{"type":"ready"}' >&3; `

// A service is a worker that is being served.
type service struct {
	t      testing.TB
	w      *procworker.Worker
	cancel context.CancelFunc
	ready  chan struct{}
	result chan error
}

func serve(t testing.TB, w *procworker.Worker) *service {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s := &service{t: t, w: w, cancel: cancel, ready: make(chan struct{}), result: make(chan error, 1)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.result <- w.ServeReady(ctx, func() { close(s.ready) })
	}()
	t.Cleanup(func() {
		cancel()
		w.Kill()
		<-ended
	})
	return s
}

func (s *service) awaitReady() *service {
	s.t.Helper()
	select {
	case <-s.ready:
	case err := <-s.result:
		s.t.Fatalf("ended before it was ready: %v", err)
	case <-time.After(hangGuard):
		s.t.Fatal("not ready")
	}
	return s
}

// end returns what Serve returns.
func (s *service) end() error {
	s.t.Helper()
	select {
	case err := <-s.result:
		return err
	case <-time.After(hangGuard):
		s.t.Fatalf("Serve does not return; %+v", s.w.Snapshot())
		return nil
	}
}

// stop ends it as ctx does.
func (s *service) stop() {
	s.t.Helper()
	s.cancel()
	if err := s.end(); !errors.Is(err, context.Canceled) {
		s.t.Errorf("Serve = %v, want context.Canceled", err)
	}
}

// collect makes w put its messages, without "ready", into a channel.
func collect(w *procworker.Worker) <-chan ipc.Message {
	messages := make(chan ipc.Message, 10000)
	w.OnMessage = func(_ uint64, m ipc.Message) {
		if m.Type != "ready" {
			messages <- m
		}
	}
	return messages
}

func next(t testing.TB, messages <-chan ipc.Message) (n note) {
	t.Helper()
	select {
	case m := <-messages:
		if err := json.Unmarshal(m.Raw, &n); err != nil {
			t.Fatal(err)
		}
	case <-time.After(hangGuard):
		t.Fatal("no message")
	}
	return n
}
