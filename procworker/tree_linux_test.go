package procworker_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/poppobuilder/poppobuilder/procworker"
	"github.com/poppobuilder/poppobuilder/procworker/ipc"
)

// mark gives w's processes a variable by which the test finds them, and
// cleans up what a test lets escape.
func mark(t testing.TB, w *procworker.Worker) string {
	m := "PROCWORKER_TEST_MARK=" + strings.ReplaceAll(t.Name(), "/", "_") + strconv.Itoa(os.Getpid())
	w.ExtraEnv = append(w.ExtraEnv, m)
	t.Cleanup(func() {
		for _, pid := range alive(m) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	return m
}

// alive returns the living processes that carry a mark, by the kernel's word.
func alive(mark string) (pids []int) {
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, file := range files {
		env, err := os.ReadFile(file)
		if err == nil && strings.Contains("\x00"+string(env), "\x00"+mark+"\x00") {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			pids = append(pids, pid)
		}
	}
	return pids
}

// awaitDeath waits for a process that need not be our child.
func awaitDeath(t testing.TB, pidfd int) {
	t.Helper()
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, int(hangGuard.Milliseconds()))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if n != 1 {
			t.Errorf("the process is alive (%v)", err)
		}
		return
	}
}

// The shells of these scripts say that they are ready, or end, only once
// the processes that they leave have been started.
var trees = []struct {
	name   string
	script string
	byTERM bool // it ends by SIGTERM or by itself: the polite way
}{
	{name: "one that obeys", script: sayReady + "sleep 1000", byTERM: true},
	{name: "ignores TERM", script: `trap "" TERM; ` + sayReady + `while :; do sleep 1000; done`},
	{name: "ignores TERM and forks", script: `trap "" TERM; for i in 1 2 3; do sh -c 'trap "" TERM; sleep 1000 & sleep 1000' & done; ` + sayReady + `while :; do sleep 0.01; done`},
	{name: "obeys, its children do not", script: `sh -c 'trap "" TERM; echo "{\"type\":\"ready\"}" >&3; sleep 1000; sleep 1000' & wait`, byTERM: true},
	{name: "ends, its children do not", script: `trap "" TERM HUP; sleep 1000 & (sleep 1000 &) ; ` + sayReady + `exit 0`, byTERM: true},
	{name: "stopped grandchild", script: `sh -c 'trap "" TERM; echo "{\"type\":\"ready\"}" >&3; kill -STOP $$' & trap "" TERM; wait; sleep 1000`},
	{name: "new session below it", script: `trap "" TERM; setsid sh -c 'trap "" TERM; echo "{\"type\":\"ready\"}" >&3; sleep 1000; sleep 1000' & while :; do sleep 1000; done`},
	{name: "new session below it that forks on and on", script: `trap "" TERM; setsid sh -c 'trap "" TERM; echo "{\"type\":\"ready\"}" >&3; i=0; while [ $i -lt 500 ]; do (sleep 1000 & sleep 1000) & i=$((i+1)); done; sleep 1000' & while :; do sleep 1000; done`},
	{name: "new session and no environment below it", script: `trap "" TERM; env -i setsid sh -c 'trap "" TERM; echo "{\"type\":\"ready\"}" >&3; exec sleep NAP' & while :; do sleep 1000; done`},
}

func TestTreeIsGone(t *testing.T) {
	t.Parallel()
	for _, tt := range trees {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			nap := "999." + strconv.Itoa(os.Getpid())
			w := shell(t, strings.ReplaceAll(tt.script, "NAP", nap))
			m := mark(t, w)
			w.Stop.Grace = 50 * time.Millisecond
			if tt.byTERM {
				w.Stop.Grace = time.Hour
			}
			s := serve(t, w)
			select {
			case <-s.ready:
				s.cancel()
				s.end()
			case <-s.result: // the one that ends by itself
			}
			if left := alive(m); len(left) > 0 {
				t.Errorf("alive after Serve: %v", left)
			}
			if left := running("sleep\x00" + nap + "\x00"); strings.Contains(tt.script, "NAP") && len(left) > 0 {
				t.Errorf("alive after Serve: %v", left)
			}
		})
		t.Run(tt.name+", killed", func(t *testing.T) {
			t.Parallel()
			nap := "998." + strconv.Itoa(os.Getpid())
			w := shell(t, strings.ReplaceAll(tt.script, "NAP", nap))
			m := mark(t, w)
			w.Stop.Grace = time.Hour
			s := serve(t, w)
			select {
			case <-s.ready:
				s.cancel()
				w.Kill()
				s.end()
			case <-s.result:
			}
			if left := alive(m); len(left) > 0 {
				t.Errorf("alive after Kill: %v", left)
			}
			if left := running("sleep\x00" + nap + "\x00"); strings.Contains(tt.script, "NAP") && len(left) > 0 {
				t.Errorf("alive after Kill: %v", left)
			}
		})
	}
}

// running returns the processes with that command line.
func running(cmdline string) (pids []int) {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		if text, err := os.ReadFile(file); err == nil && string(text) == cmdline {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			pids = append(pids, pid)
		}
	}
	return pids
}

// escape is a script whose shell ends when a process that has left its group,
// session and parents holds its output and channel.
const escape = `echo before; setsid sh -c '(trap "" TERM HUP; echo up >&4; exec sleep 1000) & exit' 4>$UP & read up <$UP; `

func escapee(t *testing.T, script string) (w *procworker.Worker, m string) {
	up := filepath.Join(t.TempDir(), "up")
	if err := unix.Mkfifo(up, 0o600); err != nil {
		t.Fatal(err)
	}
	w = shell(t, script)
	w.ExtraEnv = []string{"UP=" + up}
	return w, mark(t, w)
}

func TestEscapeeHoldsPipes(t *testing.T) {
	t.Parallel()
	w, m := escapee(t, escape+sayReady+`echo '{"type":"note","n":7}' >&3; echo after; exit 0`)
	var out bytes.Buffer
	w.Stdout = &out
	messages := collect(w)
	if err := serve(t, w).end(); err != nil {
		t.Fatal(err)
	}
	if out.String() != "before\nafter\n" {
		t.Errorf("output %q", out.String())
	}
	if n := next(t, messages); n.N != 7 {
		t.Errorf("got %+v", n)
	}
	if len(alive(m)) == 0 { // the shell that left it may be ending still
		t.Error("nothing has escaped: this test tests nothing")
	}
}

func TestParentKilled(t *testing.T) {
	t.Parallel()
	var out lineBuffer
	out.line = make(chan string, 1)
	w := asChild(t, "parent")
	w.IPC, w.Stdout = false, &out
	s := serve(t, w)
	var pid int
	select {
	case line := <-out.line:
		var err error
		if pid, err = strconv.Atoi(line); err != nil {
			t.Fatal(line)
		}
	case <-time.After(hangGuard):
		t.Fatal("the parent says nothing")
	}
	child, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(child)
	if err := w.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	awaitDeath(t, child)
	s.end()
}

// A lineBuffer passes its first line on.
type lineBuffer struct {
	buf  bytes.Buffer
	line chan string
}

func (b *lineBuffer) Write(p []byte) (int, error) {
	b.buf.Write(p)
	if line, err := b.buf.ReadString('\n'); err == nil {
		b.line <- strings.TrimSpace(line)
	}
	return len(p), nil
}

// died returns when w's child is dead, reaped or not.
func died(t testing.TB, w *procworker.Worker) {
	t.Helper()
	child, err := unix.PidfdOpen(w.Snapshot().PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return
	}
	if err != nil {
		t.Error(err)
		return
	}
	defer unix.Close(child)
	awaitDeath(t, child)
}

func TestMessagesBeforeDeathArrive(t *testing.T) {
	t.Parallel()
	const count, late = 1000, 100 // the late ones are read when their sender is dead
	w := asChild(t, "speak "+strconv.Itoa(count))
	heard := 0
	returned := make(chan struct{})
	w.OnMessage = func(_ uint64, m ipc.Message) {
		var n note
		if m.Type == "ready" {
			// Unread when the child dies: that must not cost its own words.
			if err := w.Send(t.Context(), note{Type: "note"}); err != nil {
				t.Error(err)
			}
			return
		}
		if err := m.Decode(&n); err != nil || n.N != heard {
			t.Errorf("message %d is %s", heard, m.Raw)
		}
		if heard++; heard == count-late {
			died(t, w)
			select {
			case <-returned:
				t.Error("Serve returned before all messages were delivered")
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
	var exit *procworker.ExitError
	err := serve(t, w).end()
	close(returned)
	if !errors.As(err, &exit) || exit.Code != 5 {
		t.Fatalf("Serve = %v", err)
	}
	if heard != count {
		t.Errorf("%d messages when Serve returned, want %d", heard, count)
	}
}

func TestFatalMessageOfTheDead(t *testing.T) {
	t.Parallel()
	for range 10 {
		w := shell(t, sayReady+sayFatal+"exit 0")
		w.OnMessage = func(_ uint64, m ipc.Message) {
			if m.Type == "error" {
				died(t, w)
			}
		}
		var fatal *procworker.FatalError
		if err := serve(t, w).end(); !errors.As(err, &fatal) {
			t.Fatalf("Serve = %v, want *FatalError", err)
		}
	}
}

func TestStoppedChildStops(t *testing.T) {
	t.Parallel()
	w := shell(t, sayReady+"kill -STOP $$; sleep 1000")
	w.Stop.Grace = time.Hour // so that only SIGCONT gets it out
	s := serve(t, w).awaitReady()
	awaitStopped(t, w)
	s.stop()
	if exit := w.Snapshot().LastExit; exit.Signal != "SIGTERM" {
		t.Errorf("LastExit = %+v", exit)
	}
}

// The polite message does not wait for somebody who would never read it.
func TestStoppedChildHearsTheMessage(t *testing.T) {
	t.Parallel()
	w := asChild(t, "echo")
	w.Stop = procworker.Stop{Message: ipc.Shutdown{}, MessageTimeout: time.Hour, Grace: time.Hour}
	s := serve(t, w).awaitReady()
	if err := w.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	awaitStopped(t, w)
	s.stop()
	if exit := w.Snapshot().LastExit; exit.Code != 0 {
		t.Errorf("LastExit = %+v, want code 0", exit)
	}
}

// awaitStopped returns when w's child is stopped.
func awaitStopped(t testing.TB, w *procworker.Worker) {
	t.Helper()
	for {
		err := unix.Waitid(unix.P_PID, w.Snapshot().PID, nil, unix.WSTOPPED|unix.WNOWAIT, nil)
		if err == nil {
			return
		}
		if !errors.Is(err, unix.EINTR) {
			t.Fatal(err)
		}
	}
}

func TestHostTrouble(t *testing.T) {
	t.Parallel()
	w := asChild(t, "emfile")
	w.IPC = false
	if err := serve(t, w).end(); err != nil {
		t.Error(err)
	}
}

// playEMFILE starts workers with ever fewer free descriptors.
func playEMFILE(string) int {
	// Go's poller aborts the program if it finds no descriptor when it starts.
	r, p, err := os.Pipe()
	if err != nil {
		return 2
	}
	defer r.Close()
	defer p.Close()
	for fd, used := 0, openFiles(); fd < used; { // no holes below the limit
		var err error
		if fd, err = unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
			return 2
		}
	}
	for free := range 16 {
		limit := uint64(openFiles() + free)
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit, Max: 1000}); err != nil {
			return 3
		}
		before := openFiles()
		w := &procworker.Worker{Command: []string{"true"}, IPC: true, Ready: procworker.ReadyAtOnce, Stdout: new(bytes.Buffer)}
		err := w.Serve(context.Background())
		var spawn *procworker.SpawnError
		if err != nil && !(errors.As(err, &spawn) && spawn.Host()) {
			os.Stderr.WriteString(err.Error() + "\n")
			return 4
		}
		if free == 0 && err == nil {
			return 5
		}
		if after := openFiles(); after > before {
			os.Stderr.WriteString("descriptors leak\n")
			return 6
		}
	}
	return 0
}

// openFiles returns one more than the highest descriptor in use.
func openFiles() (n int) {
	for fd := range 1000 {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil {
			n = fd + 1
		}
	}
	return n
}

// Not parallel: it counts this process's descriptors.
func TestNothingLeaks(t *testing.T) {
	count := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	run := func() {
		w := shell(t, sayReady+"sleep 1000")
		w.Stdout, w.Stderr = new(bytes.Buffer), new(bytes.Buffer)
		s := serve(t, w).awaitReady()
		w.Kill()
		s.end()
		_ = (&procworker.Worker{Command: []string{"/no/such"}, IPC: true, Stdout: new(bytes.Buffer)}).Serve(t.Context())
	}
	run()
	before := count()
	for range 20 {
		run()
	}
	if after := count(); after != before {
		t.Errorf("%d descriptors, before %d", after, before)
	}
}

// A killed group is a moment away from being dead: with many members of some
// size Serve would return before that moment, if it did not wait for it.
func TestGroupIsDeadAtOnce(t *testing.T) {
	t.Parallel()
	for range 5 {
		w := shell(t, `trap "" TERM HUP; i=0; while [ $i -lt 60 ]; do sleep 1000 & i=$((i+1)); done; `+sayReady+"wait")
		m := mark(t, w)
		s := serve(t, w).awaitReady()
		var members []int
		for _, pid := range alive(m) {
			fd, err := unix.PidfdOpen(pid, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(fd)
			members = append(members, fd)
		}
		if len(members) < 60 {
			t.Fatalf("%d members", len(members))
		}
		// The child alone, so that nothing but its end kills the others.
		if err := w.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		_ = s.end()
		for _, fd := range members {
			if n, _ := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0); n != 1 {
				t.Fatal("a member of the group is alive when Serve has returned")
			}
		}
	}
}

// A group whose members fork and end all the time outruns whoever kills them
// one by one: it takes the signal to the whole group.
func TestGroupThatOutruns(t *testing.T) {
	t.Parallel()
	words, theirs, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer words.Close()
	w := shell(t, `export N=1 RUN='[ $N -lt 1000 ] || { echo outran; exit; }; N=$((N+1)) sh -c "$RUN" & exit'
		for i in 1 2 3 4; do sh -c "$RUN" & done; `+sayReady+"exit 0")
	w.Stdout, w.Stderr = theirs, theirs
	_ = serve(t, w).end()
	theirs.Close()
	if said, err := io.ReadAll(words); err != nil || len(said) > 0 { // returns when all are dead
		t.Errorf("they have ended by themselves: %q (%v)", said, err)
	}
}

// A message hook that sends must not hang when the child is dead and somebody
// who does not read holds its channel.
func TestSendToEscapeeEnds(t *testing.T) {
	t.Parallel()
	w, m := escapee(t, escape+sayReady+`echo '{"type":"note"}' >&3; read gate <$UP; exit 0`)
	asked, sent := make(chan struct{}), make(chan error, 1)
	w.OnMessage = func(_ uint64, m ipc.Message) {
		if m.Type != "note" {
			return
		}
		close(asked)
		long := note{Type: "note", Text: strings.Repeat("a", 100_000)}
		for {
			if err := w.Send(context.Background(), long); err != nil {
				sent <- err
				return
			}
		}
	}
	s := serve(t, w).awaitReady()
	<-asked
	w.Kill()
	_ = s.end()
	if err := <-sent; err == nil {
		t.Error("Send = nil")
	}
	if len(alive(m)) == 0 { // the shell that left it may be ending still
		t.Error("nothing has escaped: this test tests nothing")
	}
}

// Ready is told even if its message is read when the child is dead.
func TestReadyOfTheDead(t *testing.T) {
	t.Parallel()
	w := shell(t, `echo '{"type":"note"}' >&3; `+sayReady+"exit 0")
	w.OnMessage = func(_ uint64, m ipc.Message) {
		if m.Type == "note" {
			died(t, w)
			time.Sleep(50 * time.Millisecond) // Serve notices it too
		}
	}
	s := serve(t, w)
	if err := s.end(); err != nil {
		t.Errorf("Serve = %v", err)
	}
	select {
	case <-s.ready:
	default:
		t.Error("ready was not called")
	}
}
