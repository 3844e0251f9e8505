package procworker_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/poppobuilder/poppobuilder/procworker"
	"github.com/poppobuilder/poppobuilder/procworker/ipc"
)

var linuxRoles = map[string]func(string) int{
	"emfile":   playEMFILE,
	"nested":   playNested,
	"spawner":  playSpawner,
	"full":     playFull,
	"hostile":  playHostile,
	"headless": playHeadless,
	"traced":   playTraced,
	"tracer":   playTracer,
	"holder":   playHolder,
	"migrant":  playMigrant,
	"strace":   playStrace,
	"actor":    playActor,
	"bomber":   playBomber,
	"bomb":     playBomb,
	"notify":   playNotify,
	"unwaited": playUnwaited,
	"mortal":   playMortal,
	"middle":   playMiddle,
	"usurper":  playUsurper,
	"lodger":   playLodger,
}

// becomeSubreaper lasts for the test, which must not be parallel.
func becomeSubreaper(t *testing.T) (release func()) {
	t.Helper()
	release, err := procworker.Subreaper()
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(release)
	return release
}

// Without the mechanism TestEscapeeHoldsPipes sees the escapee survive.
func TestSubreaper(t *testing.T) {
	becomeSubreaper(t)
	tests := []struct {
		name, script string
		stop         bool
	}{
		{name: "child ends", script: escape + sayReady + "exit 0"},
		{name: "child dies", script: escape + sayReady + "kill -9 $$"},
		{name: "child is stopped", script: escape + sayReady + "exec sleep 1000", stop: true},
		{name: "child ignores TERM", script: `trap "" TERM; ` + escape + sayReady + "while :; do sleep 1000; done", stop: true},
		{name: "never ready", script: escape + "exit 1"},
		{
			name: "forks again and again", stop: true,
			script: `setsid sh -c 'trap "" TERM HUP; (while :; do (sleep 0.01; sleep 1000) & sleep 0.02; done) & echo up >$UP' & read up <$UP; ` + sayReady + "exec sleep 1000",
		},
		{
			name:   "below one that has cleared its environment",
			script: `setsid sh -c '(trap "" TERM HUP; sleep 1000 & exec env -i sh -c "echo up >&4; exec sleep 1000") & exit' 4>$UP & read up <$UP; ` + sayReady + "exit 0",
		},
		{
			name:   "stopped escapee",
			script: `setsid sh -c '(sh -c "kill -STOP \$\$" & echo up >$UP) & exit' & read up <$UP; ` + sayReady + "exit 0",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Cleanup(procworker.KillOrphans)
			w, m := escapee(t, tt.script)
			w.Stop.Grace = 50 * time.Millisecond
			s := serve(t, w)
			if tt.stop {
				s.awaitReady().stop()
			} else {
				_ = s.end()
			}
			if left := alive(m); len(left) > 0 {
				t.Errorf("alive after Serve: %v", left)
			}
		})
	}
}

// A child that uses this package itself is killed: what has escaped from its
// own children is still known.
func TestSubreaperKnowsTheChildrenOfChildren(t *testing.T) {
	becomeSubreaper(t)
	w := asChild(t, "middle")
	up := filepath.Join(t.TempDir(), "up")
	if err := unix.Mkfifo(up, 0o600); err != nil {
		t.Fatal(err)
	}
	w.ExtraEnv = append(w.ExtraEnv, "UP="+up)
	m := mark(t, w)
	s := serve(t, w).awaitReady()
	if left := alive(m); len(left) < 3 {
		t.Errorf("alive: %v, want the middle, its child and the escapee", left)
	}
	if err := w.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = s.end()
	if left := alive(m); len(left) > 0 {
		t.Errorf("alive after Serve: %v", left)
	}
}

// playMiddle runs a worker with an escapee, and is ready when that is.
func playMiddle(string) int {
	conn, err := ipc.FromEnv()
	if err != nil {
		return 2
	}
	w := &procworker.Worker{Command: []string{"sh", "-c", escape + sayReady + "exec sleep 1000"}, IPC: true}
	_ = w.ServeReady(context.Background(), func() { _ = conn.Send(context.Background(), ipc.Ready{}) })
	return 1
}

// One worker's end must not touch another one's escapees.
func TestSubreaperSparesOthers(t *testing.T) {
	becomeSubreaper(t)
	one, _ := escapee(t, escape+sayReady+"exec sleep 1000")
	long := serve(t, one).awaitReady()
	t.Run("other", func(t *testing.T) {
		other, m := escapee(t, escape+sayReady+"exit 0")
		if err := serve(t, other).end(); err != nil || len(alive(m)) > 0 {
			t.Errorf("Serve = %v, alive %v", err, alive(m))
		}
	})
	m := one.ExtraEnv[1]
	if left := alive(m); len(left) < 2 {
		t.Errorf("%d processes of the running worker, want it and its escapee", len(left))
	}
	long.stop()
	if left := alive(m); len(left) > 0 {
		t.Errorf("alive after Serve: %v", left)
	}
}

// The reaper waits for orphans and for nobody else's children.
func TestSubreaperStealsNothing(t *testing.T) {
	release := becomeSubreaper(t)
	// Orphans die all the time.
	w := shell(t, sayReady+`while :; do setsid sh -c '(sleep 0.01 &)'; done`)
	m := mark(t, w)
	s := serve(t, w).awaitReady()
	var group sync.WaitGroup
	for _, attr := range []*syscall.SysProcAttr{nil, {Setsid: true}, {Setpgid: true}} {
		group.Go(func() {
			for i := range 150 {
				cmd := exec.Command("sh", "-c", "exit "+strconv.Itoa(i%100))
				cmd.SysProcAttr = attr
				err := cmd.Run()
				var exit *exec.ExitError
				switch {
				case i%100 == 0 && err == nil:
				case errors.As(err, &exit) && exit.ExitCode() == i%100:
				default:
					t.Errorf("run %d: %v", i, err)
				}
			}
		})
	}
	group.Wait()
	s.stop()
	release()
	if left := alive(m); len(left) > 0 {
		t.Errorf("alive after Serve: %v", left)
	}
	if zombies := zombieChildren(t); len(zombies) > 0 {
		t.Errorf("nobody has waited for %d children", len(zombies))
	}
}

// Whoever calls KillOrphans finds all dead that were there before, also while
// another one is killing them.
func TestKillOrphansTogether(t *testing.T) {
	becomeSubreaper(t)
	t.Cleanup(procworker.KillOrphans)
	const count = 30
	m := "orphans of " + strconv.Itoa(os.Getpid())
	w := shell(t, fmt.Sprintf(`for i in $(seq %d); do setsid env -i PATH="$PATH" sh -c 'while :; do sleep 1000; done' '%s' & done; read line <&3`, count, m))
	s := serve(t, w)
	leaders := func() []int { // without those that are about to execute sleep
		return slices.DeleteFunc(marked(m), func(pid int) bool {
			group, err := syscall.Getpgid(pid)
			return err != nil || group != pid
		})
	}
	for len(leaders()) < count { // they have cleared their environment
		time.Sleep(time.Millisecond)
	}
	s.stop()
	pids := leaders()
	if len(pids) != count {
		t.Fatalf("%d orphans, want %d", len(pids), count)
	}
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			procworker.KillOrphans()
			for _, pid := range pids { // at once
				if syscall.Kill(pid, 0) == nil {
					t.Errorf("%d is there after KillOrphans", pid)
				}
			}
		})
	}
	group.Wait()
}

// A child that its owner has not waited for yet is no orphan. In a process of
// its own, because only there can the test have the main thread, whose
// children are listed together with the orphans.
func TestSubreaperSparesTheUnwaited(t *testing.T) {
	t.Parallel()
	w := asChild(t, "unwaited")
	w.IPC = false
	err := serve(t, w).end()
	var exit *procworker.ExitError
	if errors.As(err, &exit) && exit.Code == cannot {
		t.Skip("the main thread, or a subreaper, is not to be had")
	}
	if err != nil {
		t.Error(err)
	}
}

const cannot = 77

func playUnwaited(string) int {
	runtime.LockOSThread()
	if unix.Gettid() != os.Getpid() {
		return cannot
	}
	release, err := procworker.Subreaper()
	if err != nil {
		return cannot
	}
	var commands []*exec.Cmd
	for code := range 20 {
		cmd := exec.Command("sh", "-c", "exit "+strconv.Itoa(code))
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: code%2 == 0}
		if err := cmd.Start(); err != nil {
			return 2
		}
		commands = append(commands, cmd)
		// Returns when it is dead, and leaves it to its owner.
		for unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
		}
	}
	release() // looks for dead orphans a last time
	for code, cmd := range commands {
		if _ = cmd.Wait(); cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != code {
			os.Stderr.WriteString("the exit status of another's child is lost\n")
			return 1
		}
	}
	return 0
}

func zombieChildren(t *testing.T) (pids []string) {
	self := strconv.Itoa(os.Getpid())
	list, err := os.ReadFile("/proc/self/task/" + self + "/children")
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range strings.Fields(string(list)) {
		if stat, err := os.ReadFile("/proc/" + pid + "/stat"); err == nil && strings.Contains(string(stat), ") Z ") {
			pids = append(pids, pid)
		}
	}
	return pids
}
