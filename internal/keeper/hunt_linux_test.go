package keeper_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/poppobuilder/poppobuilder/internal/keeper"
	"github.com/poppobuilder/poppobuilder/internal/worker"
)

// patience bounds what would otherwise hang.
const patience = 30 * time.Second

// script starts a script that has the cookie. What comes back ends when the
// last process is gone that holds the script's standard output, and is not
// returned before the script has said "up". With lead, it leads a group.
func script(t *testing.T, cookie, text string, lead bool) (alive *os.File, c *exec.Cmd) {
	t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	c = exec.Command("sh", "-c", text)
	c.Env = append(os.Environ(), keeper.Variable+"=outer:"+cookie, "SELF="+os.Args[0])
	c.Stdout = write
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: lead}
	err = c.Start()
	write.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		read.Close()
		_ = syscall.Kill(c.Process.Pid, syscall.SIGKILL)
		_ = c.Wait()
	})
	_ = read.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.ReadFull(read, make([]byte, len("up\n"))); err != nil {
		t.Fatalf("wait for the script: %v", err)
	}
	return read, c
}

func TestHunt(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, text string
		lead       bool
	}{
		{"ignores TERM", `trap "" TERM; echo up; sleep 1000`, true},
		{"left group and session, parent dead", `(setsid sh -c 'echo up; sleep 1000' &)`, true},
		{"environment cleared, below a carrier", `env -i setsid sh -c 'echo up; sleep 1000' & wait`, true},
		{"environment cleared, in a carrier's group", `(env -i sh -c 'sleep 1000' &); echo up; sleep 1000`, true},
		{"main thread has ended", `HEADLESS=1 exec "$SELF"`, true},
		{"main thread has ended, left group and session, parent dead", `HEADLESS=1 setsid "$SELF" &`, true},
		{"in flight", `export UNTIL=$(($(date +%s)+100)) RUN='[ $(date +%s) -lt $UNTIL ] || exit; setsid sh -c "$RUN" & exit'; sh -c "$RUN"; echo up; exit`, true},
		{"stopped", `echo up; kill -STOP $$`, true},
		{"forks as fast as it can", `f() { sh -c : & sleep 0.01; }; echo up; while :; do f; f; done`, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cookie := rand.Text()
			alive, _ := script(t, cookie, tt.text, tt.lead)
			killed, err := keeper.Hunt(t.Context(), cookie)
			if err != nil || killed == 0 {
				t.Errorf("Hunt = %d, %v", killed, err)
			}
			// At once: when Hunt has returned they are dead.
			_ = alive.SetReadDeadline(time.Now().Add(patience))
			if _, err := io.Copy(io.Discard, alive); err != nil {
				t.Errorf("somebody is alive: %v", err)
			}
			if killed, err := keeper.Hunt(t.Context(), cookie); killed != 0 || err != nil {
				t.Errorf("a second Hunt = %d, %v", killed, err)
			}
		})
	}
}

func TestHuntSparesStrangers(t *testing.T) {
	t.Parallel()
	stranger, _ := script(t, rand.Text(), `echo up; sleep 1000`, true)
	if killed, err := keeper.Hunt(t.Context(), rand.Text()); killed != 0 || err != nil {
		t.Errorf("Hunt of a cookie that nobody has = %d, %v", killed, err)
	}
	_ = stranger.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	if _, err := stranger.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the stranger is gone: %v", err)
	}
}

// A keeper does nothing before its lifeline ends, however much there is to do,
// and then not before the workers are gone.
func TestRunWaitsForLifelineAndWorkers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cookie := rand.Text()
	alive, _ := script(t, cookie, `echo up; sleep 1000`, true)
	release, err := worker.Presence(filepath.Join(dir, "workers"))
	if err != nil {
		t.Fatal(err)
	}
	lifeline, daemon := io.Pipe()
	ready, says := io.Pipe()
	var log bytes.Buffer
	done := make(chan error, 1)
	go func() {
		done <- keeper.Run(t.Context(), lifeline, keeper.Options{
			Lock: filepath.Join(dir, "keeper"), Presence: filepath.Join(dir, "workers"), Ready: says, Log: &log,
		})
	}()
	fmt.Fprintln(daemon, cookie)
	if _, err := io.ReadFull(ready, make([]byte, len(keeper.ReadyLine)+1)); err != nil {
		t.Fatal(err)
	}
	daemon.Close()
	_ = alive.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	if _, err := alive.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the keeper killed while a worker was there: %v", err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if !strings.Contains(log.String(), "killed") {
		t.Errorf("the log says %q", log.String())
	}
	_ = alive.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.Copy(io.Discard, alive); err != nil {
		t.Errorf("the process is alive: %v", err)
	}
}

// A daemon whose keeper was killed, and that was killed before the next one was
// ready, does not hear of that one.
func TestRunThatNobodyHears(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cookie := rand.Text()
	alive, _ := script(t, cookie, `echo up; sleep 1000`, true)
	gone, says := io.Pipe()
	gone.Close()
	err := keeper.Run(t.Context(), strings.NewReader(cookie+"\n"), keeper.Options{
		Lock: filepath.Join(dir, "keeper"), Presence: filepath.Join(dir, "workers"), Ready: says, Log: io.Discard,
	})
	if err != nil {
		t.Error(err)
	}
	_ = alive.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.Copy(io.Discard, alive); err != nil {
		t.Errorf("the process is alive: %v", err)
	}
}

func init() {
	if os.Getenv("HEADLESS") != "" {
		runtime.LockOSThread() // so that the main thread plays the role
		play = playHeadless
	}
}

// playHeadless ends the main thread, and says so.
func playHeadless() {
	go func() {
		for {
			stat, err := os.ReadFile("/proc/self/stat")
			if err != nil {
				os.Exit(1)
			}
			if bytes.Contains(stat, []byte(") Z ")) {
				break
			}
			time.Sleep(time.Millisecond) // nothing tells
		}
		fmt.Println("up")
	}()
	_, _, _ = unix.Syscall(unix.SYS_EXIT, 0, 0, 0)
}
