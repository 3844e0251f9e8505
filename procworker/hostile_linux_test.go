package procworker_test

import (
	"bytes"
	"cmp"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/poppobuilder/poppobuilder/procworker"
)

// What the child of a hostile child does; in any combination.
const (
	ignores = "ignores" // SIGTERM and SIGHUP
	stops   = "stops"   // itself, by SIGSTOP
	leaves  = "leaves"  // the session and the group
	forks   = "forks"   // twice, so that its parent is dead
	holds   = "holds"   // the output pipes and the channel
	flees   = "flees"   // from process to process, as fast as it can, for 15 s
	forgets = "forgets" // the environment
	loses   = "loses"   // its main thread, as if it were dead
	passes  = "passes"  // itself off as its parent's brother, by CLONE_PARENT
)

// hostiles are the children that nothing may be left of. The subreaper alone
// misses what has left the child in every respect, as the package comment says.
var hostiles = []struct {
	name    string
	traits  []string
	escapes bool // from a subreaper without cgroups
}{
	{name: "ignores TERM", traits: []string{ignores}},
	// The kernel sends SIGHUP to a stopped group that nobody is left to wake.
	{name: "stopped", traits: []string{stops, ignores}},
	{name: "new session", traits: []string{leaves}},
	{name: "double fork", traits: []string{forks}},
	{name: "holds the pipes", traits: []string{holds}},
	{name: "forks as fast as it can", traits: []string{flees}},
	{name: "clears its environment", traits: []string{forgets}},
	{name: "daemon", traits: []string{ignores, leaves, forks}},
	{name: "daemon that holds the pipes", traits: []string{ignores, leaves, forks, holds}},
	{name: "stopped daemon", traits: []string{ignores, leaves, forks, stops}},
	{name: "double fork without environment", traits: []string{ignores, forks, forgets}},
	{name: "session without environment", traits: []string{ignores, leaves, forgets}, escapes: true},
	{name: "daemon without environment", traits: []string{ignores, leaves, forks, forgets}, escapes: true},
	{name: "all but the flight", traits: []string{ignores, leaves, forks, forgets, holds, stops}, escapes: true},
	{name: "main thread has ended", traits: []string{loses}},
	{name: "daemon whose main thread has ended", traits: []string{ignores, leaves, forks, loses}},
	{name: "our own child", traits: []string{ignores, leaves, passes}},
	{name: "daemon in flight", traits: []string{ignores, leaves, forks, flees}},
}

// playHostile starts the actor, and is ready when that is what it is to be.
func playHostile(arg string) int {
	signal.Ignore(syscall.SIGTERM)
	r, w, err := os.Pipe()
	if err != nil {
		return 2
	}
	if startActor(arg, w) != nil {
		return 3
	}
	w.Close()
	var b [1]byte
	if n, _ := r.Read(b[:]); n != 1 {
		return 4
	}
	r.Close()
	announce()
	select {}
}

func startActor(arg string, up *os.File) error {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envChild+"=actor "+arg)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: strings.Contains(arg, leaves)}
	if strings.Contains(arg, passes) {
		cmd.SysProcAttr.Cloneflags = unix.CLONE_PARENT
	}
	cmd.ExtraFiles = []*os.File{os.NewFile(3, "channel"), up} // 3 stays, up is 4
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	if strings.Contains(arg, forks) {
		return cmd.Wait() // the one between
	}
	return nil
}

// playActor becomes what the traits say. Its mark is its argv[0].
func playActor(arg string) int {
	mark, traits, _ := strings.Cut(arg, " ")
	if rest, ok := strings.CutSuffix(traits, "+"+forks); ok {
		// The one between: it must not be waited for by its own child.
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), envChild+"=actor "+mark+" "+rest)
		cmd.ExtraFiles = []*os.File{os.NewFile(3, "channel"), os.NewFile(4, "up")}
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if cmd.Start() != nil {
			return 2
		}
		return 0
	}
	has := func(trait string) bool { return strings.Contains(traits, trait) }
	if has(ignores) {
		signal.Ignore(syscall.SIGTERM, syscall.SIGHUP)
	}
	if !has(holds) {
		null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
		if err != nil {
			return 3
		}
		for fd := range 4 {
			if unix.Dup3(int(null.Fd()), fd, 0) != nil {
				return 4
			}
		}
	}
	env := os.Environ()
	if has(forgets) {
		env = nil
	}
	// The shell says that it is up once it is all that it is to be.
	script := `echo >&4; exec 4>&-; `
	switch {
	case has(stops):
		script += `kill -STOP $$; while :; do sleep 1000; done`
	case has(flees):
		script += `[ $(date +%s) -lt $END ] || exit; sh -c "$RUN" "$0" & exit`
		env = append(env, "RUN=[ $(date +%s) -lt $END ] || exit; sh -c \"$RUN\" \"$0\" & exit", "END="+strconv.FormatInt(time.Now().Unix()+15, 10))
	case has(loses):
		_ = os.Setenv(envChild, "headless")
		_ = syscall.Exec(os.Args[0], []string{os.Args[0], "", "", mark}, os.Environ())
		return 6
	default:
		script += `while :; do sleep 1000; done`
	}
	_ = syscall.Exec("/bin/sh", []string{"sh", "-c", script, mark}, env)
	return 5
}

func init() {
	if os.Getenv(envChild) == "headless" {
		runtime.LockOSThread() // so that the main thread plays the role
	}
}

// playHeadless ends the main thread, and is up when that is gone.
func playHeadless(string) int {
	go func() {
		for {
			stat, err := os.ReadFile("/proc/self/stat")
			if err != nil {
				os.Exit(7)
			}
			if bytes.Contains(stat, []byte(") Z ")) {
				break
			}
			time.Sleep(time.Millisecond) // nothing tells
		}
		if _, err := unix.Write(4, []byte{'\n'}); err != nil {
			announce() // it is the child itself
		}
		_ = unix.Close(4)
	}()
	_, _, _ = unix.Syscall(unix.SYS_EXIT, 0, 0, 0)
	return 8
}

// marked returns the living processes with an argument, by the kernel's word.
func marked(mark string) (pids []int) {
	processes, _ := filepath.Glob("/proc/[1-9]*")
	slices.SortFunc(processes, func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(b, a)) })
	for _, dir := range processes { // the newest first, before it can flee
		text, _ := os.ReadFile(dir + "/cmdline")
		if len(text) == 0 { // perhaps its main thread has ended
			threads, _ := filepath.Glob(dir + "/task/*/cmdline")
			for i := 0; i < len(threads) && len(text) == 0; i++ {
				text, _ = os.ReadFile(threads[i])
			}
		}
		if args := strings.Split(string(text), "\x00"); len(args) > 3 && args[3] == mark {
			pid, _ := strconv.Atoi(filepath.Base(dir))
			pids = append(pids, pid)
		}
	}
	return pids
}

// face runs a hostile child to its end, and returns how much of it is left.
func face(t *testing.T, traits []string, arm func(*procworker.Worker), killed bool) int {
	t.Helper()
	mark := "hostile-" + strings.NewReplacer("/", "_", " ", "_").Replace(t.Name()) + strconv.Itoa(os.Getpid())
	arg := mark + " " + strings.ReplaceAll(strings.Join(traits, "+"), "+"+forks, "")
	for _, trait := range traits {
		if trait == forks {
			arg += "+" + forks // the last one, for playActor
		}
	}
	w := asChild(t, "hostile "+arg)
	var out, errs strings.Builder
	w.Stdout, w.Stderr = &out, &errs
	w.Stop.Grace = 20 * time.Millisecond
	w.ReadyTimeout = hangGuard
	arm(w)
	t.Cleanup(func() {
		for pass := 0; pass < 1000 && len(marked(mark)) > 0; pass++ {
			for _, pid := range marked(mark) {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	})
	s := serve(t, w).awaitReady()
	if killed {
		if err := w.Signal(syscall.SIGKILL); err != nil {
			t.Error(err)
		}
		_ = s.end()
	} else {
		s.stop()
	}
	looks := 1
	if slices.Contains(traits, flees) {
		looks = 100 // each may find it between two numbers
	}
	left := 0
	for ; looks > 0 && left == 0; looks-- {
		left = len(marked(mark))
	}
	return left
}

func TestHostileChildrenInCgroups(t *testing.T) {
	t.Parallel()
	for _, tt := range hostiles {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := cgroups(t)
			if left := face(t, tt.traits, func(w *procworker.Worker) { w.Cgroups = c }, false); left > 0 {
				t.Errorf("%d processes are left", left)
			}
			if procs := members(t, c.Path()); len(procs) > 0 {
				t.Errorf("cgroup.procs: %v", procs)
			}
		})
	}
}

// cgroup.kill alone would spare it.
func TestChildWhoseMainThreadHasEnded(t *testing.T) {
	t.Parallel()
	for _, inCgroup := range []bool{false, true} {
		t.Run("cgroup "+strconv.FormatBool(inCgroup), func(t *testing.T) {
			t.Parallel()
			w := asChild(t, "headless")
			if inCgroup {
				w.Cgroups = cgroups(t)
			}
			w.Stop.Grace = time.Hour
			s := serve(t, w).awaitReady()
			w.Kill()
			s.end()
			if exit := w.Snapshot().LastExit; exit.Signal != "SIGKILL" {
				t.Errorf("LastExit = %+v", exit)
			}
		})
	}
}

func TestHostileChildrenOfASubreaper(t *testing.T) {
	becomeSubreaper(t) // until all subtests have ended
	for _, tt := range hostiles {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			left := face(t, tt.traits, func(*procworker.Worker) {}, true)
			switch {
			case !tt.escapes && left > 0:
				t.Errorf("%d processes are left", left)
			case tt.escapes && left == 0:
				t.Error("nothing is left, although the package comment says so")
			}
		})
	}
}

// With the mechanisms switched off, each case leaves something, and is seen.
func TestHostileChildrenUnopposed(t *testing.T) {
	t.Parallel()
	for _, tt := range hostiles {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if left := face(t, tt.traits, (*procworker.Worker).Weaken, true); left == 0 {
				t.Error("nothing is left: this case tests nothing")
			}
		})
	}
}
