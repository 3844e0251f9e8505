package procworker

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"time"

	"github.com/poppobuilder/poppobuilder/procworker/ipc"
)

// envSpawn marks a child and all that inherit its environment as one
// generation's. The cookie is random: no two spawns of any process share it.
// A child of a child has those of both, so that whoever started the first one
// still knows the second when the process between them is dead.
const envSpawn = "POPPOBUILDER_SPAWN"

// channelFD is where a child finds its channel.
const channelFD = 3

// A launch is what the system's start needs.
type launch struct {
	path   string
	argv   []string
	dir    string
	env    []string
	files  []*os.File // descriptors 0, 1, ... of the child
	cookie string     // the last one in the value of envSpawn
	limits Limits
	user   *Credential // nil: this process's
	cgroup *Cgroup     // nil: none

	weak bool // see Worker

	deathSignal syscall.Signal // sent to it when this process dies
}

// An ending is how a child ended.
type ending struct {
	pid, code    int // code: -1 if a signal ended it
	signal       syscall.Signal
	coreDump     bool
	oomKilled    bool
	user, system time.Duration
	maxRSS       int64
}

// spawn starts the child with its pipes and its channel. If it fails nothing
// is left open; with ctx's error ctx ended before it was this child's turn.
func (g *generation) spawn(ctx context.Context) error {
	w := g.w
	if len(w.Command) == 0 {
		return &SpawnError{Name: w.String(), Err: errors.New("no command; set Command")}
	}
	var mine, theirs fileList // to close on failure; and in any case
	defer theirs.close()
	l, err := g.prepare(&mine, &theirs)
	if err != nil {
		g.abandon(mine)
		return &SpawnError{Name: w.String(), Command: w.Command[0], Err: err}
	}
	g.started = time.Now()
	proc, err := start(ctx, l)
	if err != nil {
		g.abandon(mine)
		if errors.Is(err, ctx.Err()) {
			return err
		}
		return &SpawnError{Name: w.String(), Command: w.Command[0], Err: explain(err, l)}
	}
	for _, o := range g.outputs {
		o.start()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	g.proc = proc
	w.snap.PID = proc.pid
	w.snap.StartedAt = g.started
	return nil
}

// abandon takes back what prepare has made.
func (g *generation) abandon(mine fileList) {
	mine.close()
	if g.notify != nil {
		g.notify.close()
	}
	if g.cgroup != nil {
		_ = g.cgroup.Close()
	}
}

func (g *generation) prepare(mine, theirs *fileList) (*launch, error) {
	w := g.w
	var err error
	if g.readiness, err = w.readiness(); err != nil {
		return nil, err
	}
	path, err := lookPath(w.Command[0])
	if err != nil {
		return nil, err
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	theirs.add(null)
	stdin := w.Stdin
	if stdin == nil {
		stdin = null
	}
	stdout, err := g.output(w.Stdout, null, mine, theirs)
	if err != nil {
		return nil, err
	}
	stderr := stdout
	if !sameWriter(w.Stdout, w.Stderr) {
		if stderr, err = g.output(w.Stderr, null, mine, theirs); err != nil {
			return nil, err
		}
	}
	l := &launch{
		path:   path,
		argv:   w.Command,
		dir:    w.Dir,
		files:  []*os.File{stdin, stdout, stderr},
		cookie: rand.Text(),
		limits: w.Limits,
		user:   w.Credential,
		weak:   w.weak,

		deathSignal: cmp.Or(w.DeathSignal, syscall.SIGKILL),
	}
	env := w.Env
	if env == nil {
		env = os.Environ()
	}
	env = append(withoutChannel(env), w.ExtraEnv...)
	cookies := l.cookie
	if outer := os.Getenv(envSpawn); outer != "" {
		cookies = outer + ":" + l.cookie
	}
	env = append(env, envSpawn+"="+cookies)
	if w.IPC {
		ours, child, err := ipc.Pair()
		if err != nil {
			return nil, err
		}
		mine.add(ours)
		theirs.add(child)
		l.files = append(l.files, child)
		fd := fmt.Sprint(channelFD)
		env = append(env, ipc.EnvFD+"="+fd, ipc.EnvNodeFD+"="+fd)
		g.channel = newDrainFile(ours, channelBudget)
		g.conn = ipc.NewConn(g.channel, ipc.Options{})
	}
	if w.Notify {
		if g.notify, err = newNotifySocket(w.Credential); err != nil {
			return nil, err
		}
		env = notifyEnvironment(env, g.notify.address, w.HeartbeatTimeout)
	}
	if err := g.makeCgroup(); err != nil {
		return nil, err
	}
	l.cgroup = g.cgroup
	// Environ drops all but the last of equal keys, and sets PWD for Dir.
	l.env = (&exec.Cmd{Dir: w.Dir, Env: env}).Environ()
	return l, nil
}

// makeCgroup makes the child's cgroup, if it is to have one.
func (g *generation) makeCgroup() (err error) {
	if g.w.Cgroups == nil {
		return g.w.Cgroups.Supports(g.w.Limits)
	}
	g.cgroup, err = g.w.Cgroups.Create(g.w.String(), g.w.Limits)
	return err
}

// output returns the child's end for dst.
func (g *generation) output(dst io.Writer, null *os.File, mine, theirs *fileList) (*os.File, error) {
	watched := g.readiness == ReadyLine
	if isNil(dst) {
		if !watched {
			return null, nil
		}
		dst = nil
	}
	if f, ok := dst.(*os.File); ok {
		return f, nil
	}
	if watched {
		l := &lineWatch{dst: dst, pattern: g.w.ReadyPattern, found: func() { g.w.becomeReady(g) }}
		g.watches = append(g.watches, l)
		dst = l
	}
	r, child, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	mine.add(r)
	theirs.add(child)
	g.outputs = append(g.outputs, newOutput(r, dst, &g.w.lost))
	return child, nil
}

// isNil reports whether w is nil, a nil *os.File included.
func isNil(w io.Writer) bool {
	f, ok := w.(*os.File)
	return w == nil || ok && f == nil
}

// sameWriter reports whether a and b are one writer. Values that cannot be
// compared are two.
func sameWriter(a, b io.Writer) bool {
	return a != nil && b != nil && reflect.ValueOf(a).Comparable() && reflect.ValueOf(b).Comparable() && a == b
}

// withoutChannel returns a copy of env in which nothing tells of a channel or
// a spawn of this process's own.
func withoutChannel(env []string) []string {
	kept := make([]string, 0, len(env)+8)
	for _, entry := range env {
		switch key, _, _ := strings.Cut(entry, "="); key {
		case envSpawn, ipc.EnvFD, ipc.EnvNodeFD:
		default:
			kept = append(kept, entry)
		}
	}
	return kept
}

// lookPath finds the program as os/exec does.
func lookPath(program string) (string, error) {
	if filepath.Base(program) != program {
		return program, nil // the kernel looks below the child's directory
	}
	return exec.LookPath(program)
}

// explain tells a missing directory from a missing program: to the kernel
// both are ENOENT.
func explain(err error, l *launch) error {
	if l.dir == "" || hostTrouble(err) {
		return err
	}
	if info, dirErr := os.Stat(l.dir); dirErr != nil {
		return fmt.Errorf("working directory: %w; create it or change Dir", dirErr)
	} else if !info.IsDir() {
		return fmt.Errorf("working directory: %w", &os.PathError{Op: "chdir", Path: l.dir, Err: syscall.ENOTDIR})
	}
	return err
}

// hostTrouble reports whether err says that the machine, and not the command,
// is why a start failed.
func hostTrouble(err error) bool {
	for _, errno := range []error{syscall.EMFILE, syscall.ENFILE, syscall.EAGAIN, syscall.ENOMEM, errTextBusy} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// A fileList closes files together.
type fileList []*os.File

func (l *fileList) add(f *os.File) { *l = append(*l, f) }

func (l *fileList) close() {
	for _, f := range *l {
		_ = f.Close()
	}
}
