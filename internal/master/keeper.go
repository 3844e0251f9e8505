package master

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/poppobuilder/poppobuilder/internal/api"
	"github.com/poppobuilder/poppobuilder/internal/keeper"
	"github.com/poppobuilder/poppobuilder/supervisor"
)

// A guard keeps a keeper running: the process that ends what this one leaves
// when it is killed. A nil guard does nothing, for systems without keepers.
type guard struct {
	command   []string
	environ   []string
	dir       string
	cookie    string
	log       *slog.Logger
	restarter *supervisor.Restarter

	settled chan struct{} // closed when the first start is over, well or badly
	settle  func()

	mu  sync.Mutex // guards pid
	pid int        // 0: there is no process
}

// newGuard makes the guard of a master.
func (m *master) newGuard() *guard {
	if len(m.o.KeeperCommand) == 0 {
		return nil
	}
	command := slices.Concat(m.o.KeeperCommand, []string{"--lock", m.keeperLock(), "--presence", m.presence()})
	if m.cgroups != nil {
		command = append(command, "--cgroup", m.cgroups.Path())
	}
	g := &guard{
		command: command,
		environ: workerEnvironment(m.o.Environ),
		dir:     m.paths.Home,
		cookie:  rand.Text(),
		log:     m.log.Logger,
		settled: make(chan struct{}),
	}
	g.settle = sync.OnceFunc(func() { close(g.settled) })
	g.restarter = supervisor.NewRestarter(g, supervisor.Options{
		Name:    "keeper",
		Backoff: m.poolSettings(m.loaded.Settings).backoff,
	})
	return g
}

// start starts the keeper. Nothing that it has to know of may be started before
// it returns. Stop ends it; by then nothing should be left for it to kill.
func (g *guard) start() (stop func()) {
	if g == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = g.restarter.Serve(ctx)
	}()
	<-g.settled
	return func() {
		cancel()
		<-done
	}
}

// mark adds the cookie to the environment of what the master starts.
func (g *guard) mark(environ []string) []string {
	if g == nil {
		return environ
	}
	value := keeper.Cookies(environ, g.cookie)
	environ = slices.DeleteFunc(slices.Clone(environ), func(entry string) bool {
		return strings.HasPrefix(entry, keeper.Variable+"=")
	})
	return append(environ, keeper.Variable+"="+value)
}

// status describes the keeper; nil: there is none on this system.
func (g *guard) status() *api.Keeper {
	if g == nil {
		return nil
	}
	r := g.restarter.Status()
	g.mu.Lock()
	defer g.mu.Unlock()
	k := &api.Keeper{PID: g.pid, Restarts: r.Restarts, State: workerState(r)}
	if r.State == supervisor.StateBackoff {
		k.NextRetryMs = new(max(time.Until(r.Trouble.NextTry).Milliseconds(), 0))
	}
	return k
}

// Serve runs one keeper.
func (g *guard) Serve(ctx context.Context) error { return g.ServeReady(ctx, func() {}) }

// ServeReady runs one keeper, until ctx ends or it does.
func (g *guard) ServeReady(ctx context.Context, ready func()) error {
	defer g.settle()
	err := g.serve(ctx, ready)
	if ctx.Err() == nil {
		g.log.Warn("keeper ended and is started again; what this daemon starts may outlive it meanwhile", "error", err)
	}
	return err
}

func (g *guard) serve(ctx context.Context, ready func()) error {
	k, err := g.spawn()
	if err != nil {
		return err
	}
	defer k.lifeline.Close()
	ended := make(chan error, 1)
	go k.await(ended)
	up := make(chan error, 1)
	go k.awaitReady(up)
	for {
		select {
		case err := <-up:
			up = nil
			if err == nil {
				g.set(k.cmd.Process.Pid)
				g.settle()
				ready()
			}
		case err := <-ended:
			g.set(0)
			if err == nil {
				err = errors.New("exit code 0")
			}
			return fmt.Errorf("keeper: %w", err)
		case <-ctx.Done():
			k.lifeline.Close()
			<-ended
			g.set(0)
			return ctx.Err()
		}
	}
}

func (g *guard) set(pid int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pid = pid
}

// A keeperProcess is a keeper that was started.
type keeperProcess struct {
	cmd      *exec.Cmd
	lifeline *os.File
	says     io.Reader
	said     chan struct{} // closed when nobody reads says any more
}

// spawn starts the process, in a session of its own so that no signal for the
// daemon's terminal or group reaches it. Unlike a worker it is not to die with
// this process.
func (g *guard) spawn() (*keeperProcess, error) {
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer read.Close()
	cmd := exec.Command(g.command[0], g.command[1:]...)
	cmd.Dir, cmd.Env = g.dir, g.environ
	cmd.Stdin, cmd.Stderr = read, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	says, err := cmd.StdoutPipe()
	if err == nil {
		// Less than a pipe holds; and at once, for one that this process does not
		// outlive.
		_, err = io.WriteString(write, g.cookie+"\n")
	}
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		write.Close()
		return nil, err
	}
	return &keeperProcess{cmd: cmd, lifeline: write, says: says, said: make(chan struct{})}, nil
}

func (k *keeperProcess) awaitReady(up chan<- error) {
	defer close(k.said)
	_, err := bufio.NewReader(k.says).ReadString('\n')
	up <- err
}

func (k *keeperProcess) await(ended chan<- error) {
	<-k.said // Wait closes the pipe
	ended <- k.cmd.Wait()
}
