// Package master is the daemon: it composes the other packages into one
// process that runs until it is told to stop.
//
// # What it is made of
//
// Outside stands a run.Group with three actors. They are stopped one after the
// other, in this order, each completely before the next:
//
//	tree       the supervision tree, with suture at its root
//	stop       waits for a request to stop
//	signals    routes TERM, INT, HUP, USR1, USR2
//
// The tree's children are started in this order, and stopped in the reverse one:
//
//	dispatch   what is due -> strategy -> an idle worker
//	api        one for the socket, one for the port
//	watchdog   signs of life for the service manager, if that wants them
//	pool       a supervisor with a child for each worker process
//
// So the API answers until the last worker is gone, and a second TERM is heard
// until the very end.
package master

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oklog/run"

	"github.com/poppobuilder/poppobuilder/internal/api"
	"github.com/poppobuilder/poppobuilder/internal/config"
	"github.com/poppobuilder/poppobuilder/internal/dispatch"
	"github.com/poppobuilder/poppobuilder/internal/project"
	"github.com/poppobuilder/poppobuilder/internal/runs"
	"github.com/poppobuilder/poppobuilder/internal/worker"
	"github.com/poppobuilder/poppobuilder/pidfile"
	"github.com/poppobuilder/poppobuilder/procworker"
	"github.com/poppobuilder/poppobuilder/signals"
	"github.com/poppobuilder/poppobuilder/supervisor"
)

// Options tell a master who it is.
type Options struct {
	Home    config.Paths
	Flags   []string // the settings that were given as flags
	Environ []string
	Version string
	// WorkerCommand starts a built-in worker.
	WorkerCommand []string
	// KeeperCommand starts a keeper. Empty: there is none.
	KeeperCommand []string
	// Console receives the log too. Nil: nobody sees it.
	Console io.Writer
	// NoCgroups leaves out cgroups, where there are any.
	NoCgroups bool
	// Ready is called once, when everything is up.
	Ready func() error
}

// A DisabledError says that the settings forbid to start.
type DisabledError struct{ Origin config.Origin }

func (e *DisabledError) Error() string {
	return fmt.Sprintf("daemon.enabled is false (%s): set it to true to start the daemon", e.Origin)
}

// A master is the state of a running daemon. Its parts own their own; here is
// only what connects them.
type master struct {
	o       Options
	paths   config.Paths
	started time.Time
	notify  *notifier

	log      *logger
	projects project.Store
	store    *runs.DB
	dispatch *dispatch.Dispatcher
	pool     *pool
	guard    *guard
	root     *supervisor.Supervisor // of what runs
	address  string                 // of the API on TCP; empty: none

	cgroups     *procworker.Cgroups // of the workers; nil: none
	containment string              // see api.Status

	stopping  chan struct{} // closed when the daemon is to stop
	stopOnce  sync.Once
	ready     atomic.Bool
	reloading sync.Mutex // one reload at a time

	mu         sync.Mutex // guards what follows; nothing else is locked under it
	loaded     *config.Loaded
	registry   *project.Registry
	lastReload *api.LastReload
}

// Run runs the daemon until ctx ends, a signal or a request stops it, or it
// cannot go on. It returns nil after a stop that somebody asked for.
//
// Errors: *pidfile.HeldError if another daemon has this home, [*DisabledError],
// config.Faults, project.Faults, and whatever the system refuses.
func Run(ctx context.Context, o Options) error {
	m := &master{
		o:        o,
		paths:    o.Home,
		started:  time.Now(),
		notify:   newNotifier(o.Environ),
		stopping: make(chan struct{}),
	}
	router := signals.Listen(m.routes())
	defer router.Close()

	if err := makeHome(m.paths); err != nil {
		return err
	}
	lock, err := pidfile.Lock(m.paths.PIDFile)
	if err != nil {
		return err
	}
	defer lock.Close()

	if err := m.load(); err != nil {
		return err
	}
	m.log, err = newLogger(m.paths.DaemonLog, o.Console, m.loaded.Logging)
	if err != nil {
		return err
	}
	defer m.log.close()
	for _, i := range m.loaded.Ignored {
		m.log.Warn("setting ignored", "setting", i.String())
	}
	m.awaitPredecessors(ctx)
	// Before anything is started: who is alone in its cgroup can make room for
	// controllers.
	release := m.contain()
	m.guard = m.newGuard()
	defer m.guard.start()()
	defer release()
	endpoints, err := m.listen()
	if err != nil {
		return err
	}
	defer closeAll(endpoints)
	if err := lock.Write(); err != nil {
		return err
	}
	if m.store, err = m.openRuns(); err != nil {
		return err
	}
	defer m.closeRuns()
	m.compose()
	return m.serve(ctx, endpoints, router)
}

// contain prepares the means by which nothing of a worker escapes, and returns
// what undoes it. What a predecessor has left in its cgroups is killed.
func (m *master) contain() (release func()) {
	m.containment = api.ContainmentGroup
	undo := func() {}
	unreap, err := procworker.Subreaper()
	switch {
	case err == nil:
		m.containment = api.ContainmentSubreaper
		undo = func() {
			procworker.KillOrphans()
			unreap()
		}
	case !errors.Is(err, errors.ErrUnsupported):
		m.log.Warn("processes that leave their worker's group will not be found when it dies", "error", err)
	}
	if m.o.NoCgroups {
		return undo
	}
	// The name is the home's own, of which there is one master.
	sum := sha256.Sum256([]byte(m.paths.Home))
	cgroups, err := procworker.OpenCgroups("poppobuilder-" + hex.EncodeToString(sum[:8]))
	if err != nil {
		m.log.Debug("no cgroups for the workers", "error", err)
		return undo
	}
	m.cgroups, m.containment = cgroups, api.ContainmentCgroup
	return func() {
		if err := cgroups.Close(); err != nil {
			m.log.Warn("remove the workers' cgroups", "error", err)
		}
		undo()
	}
}

// makeHome creates the home and what is in it.
func makeHome(p config.Paths) error {
	for _, dir := range []string{p.Home, p.SocketDir, p.State, p.Logs, filepath.Dir(p.ProjectLog("x"))} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("create the daemon's home: %w", err)
		}
	}
	if err := os.Chmod(p.Home, 0o700); err != nil {
		return fmt.Errorf("make the daemon's home private: %w", err)
	}
	return checkPrivate(p.SocketDir)
}

// checkPrivate refuses a directory that is not ours: a socket's directory may
// be a public place when the home's path is too long.
func checkPrivate(dir string) error {
	info, err := os.Lstat(dir)
	switch {
	case err != nil:
		return fmt.Errorf("check the socket's directory: %w", err)
	case !info.IsDir() || !ownedByUs(info):
		return &fs.PathError{Op: "use as the socket's directory", Path: dir, Err: errors.New("it is not a directory of this user; remove it")}
	case info.Mode().Perm() != 0o700:
		return os.Chmod(dir, 0o700)
	}
	return nil
}

// predecessorTimeout is how long workers of a daemon that was killed may take
// until their runs are gone. They need 2 s for a run that ignores TERM.
const predecessorTimeout = 10 * time.Second

// awaitPredecessors waits for the workers of a daemon that was killed just now,
// and for its keeper: a project must not run twice at once.
func (m *master) awaitPredecessors(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, predecessorTimeout)
	defer cancel()
	for _, file := range []string{m.presence(), m.keeperLock()} {
		if err := worker.AwaitAbsence(ctx, file); err != nil {
			m.log.Warn("projects may run twice for a moment", "error", err)
		}
	}
}

// load reads settings and projects for the start.
func (m *master) load() error {
	loaded, err := config.Load(config.Options{File: m.paths.Config, Args: m.o.Flags, Environ: m.o.Environ})
	if err != nil {
		return err
	}
	if !loaded.Daemon.Enabled {
		return &DisabledError{Origin: loaded.Origins["daemon.enabled"]}
	}
	m.projects = project.Store{Path: m.paths.Projects}
	registry, err := m.projects.Load()
	if err != nil {
		return err
	}
	m.loaded, m.registry = loaded, registry
	return nil
}

// compose builds the parts from the settings.
func (m *master) compose() {
	m.pool = newPool(poolOptions{
		dir:      m.paths.Home,
		env:      m.guard.mark(workerEnvironment(m.o.Environ)),
		logPath:  m.paths.WorkerLog,
		log:      m.log.Logger,
		cgroups:  m.cgroups,
		settings: m.poolSettings(m.loaded.Settings),
	})
	m.dispatch = dispatch.New(dispatch.Options{
		Store:    m.store,
		Pool:     m.pool,
		Log:      m.log.Logger,
		LogPath:  m.paths.ProjectLog,
		Settings: dispatchSettings(m.loaded.Settings),
	})
	m.pool.dispatch = m.dispatch
}

// serve runs everything until the end.
func (m *master) serve(ctx context.Context, endpoints []*endpoint, router *signals.Router) error {
	var err error
	if m.root, err = m.supervise(endpoints); err != nil {
		return err
	}
	// At the root stands suture: should our own supervisor ever fail, it is
	// served again with all that is in it.
	tree := supervisor.NewTree("root", supervisor.TreeOptions{StopTimeout: -1})
	tree.Add(m.root)

	events := m.root.Subscribe(eventQueue)
	reported := make(chan struct{})
	go m.report(events, reported)
	defer func() {
		events.Close()
		<-reported
	}()

	var group run.Group
	work, end := actor(tree)
	group.Add(func() error {
		defer m.dispatch.Close() // a signal's handler may wait for an answer
		return work()
	}, func(err error) {
		m.leave()
		end(err)
	})
	group.Add(func() error { return m.await(ctx) }, func(error) { m.stop() })
	group.Add(router.Actor())
	m.log.Info("daemon started", "pid", os.Getpid(), "home", m.paths.Home, "version", m.o.Version)
	err = group.Run()
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	if err != nil {
		m.log.Error("daemon ended", "error", err)
	} else {
		m.log.Info("daemon stopped")
	}
	return err
}

// supervise makes the tree. Its children are stopped in the reverse order: the
// API answers until the last worker is gone, and the dispatcher answers the API.
func (m *master) supervise(endpoints []*endpoint) (*supervisor.Supervisor, error) {
	children := []supervisor.Spec{{Service: m.dispatch, Shutdown: supervisor.Infinite}}
	for _, e := range endpoints {
		children = append(children, supervisor.Spec{Service: e, Shutdown: supervisor.Infinite})
	}
	if w := m.notify.watchdog(m.dispatch.Alive); w != nil {
		children = append(children, supervisor.Spec{Service: w})
	}
	children = append(children, supervisor.Spec{Service: m.pool, Shutdown: supervisor.Infinite})
	return supervisor.New(supervisor.SupervisorOptions{Name: "poppobuilder", Children: children})
}

// eventQueue is far more than a tree that works has to tell at once.
const eventQueue = 64

// report logs what goes wrong in the master's own services; slots report on
// their workers.
func (m *master) report(events *supervisor.Subscription, done chan<- struct{}) {
	defer close(done)
	for e := range events.Events() {
		switch {
		case e.Path != "":
		case e.Kind == supervisor.EventPanicked:
			attrs := []any{"service", e.Name, "error", e.Err}
			if p, ok := errors.AsType[*supervisor.PanicError](e.Err); ok {
				attrs = append(attrs, "stack", string(p.Stack))
			}
			m.log.Error("service panicked and is started again", attrs...)
		case e.Kind == supervisor.EventExited && e.State != supervisor.StateStopping:
			m.log.Error("service ended and is started again", "service", e.Name, "error", e.Err)
		}
	}
}

// actor makes an actor of a service. Its interrupt returns when the service
// has ended, so that a group stops its actors one after the other.
func actor(s supervisor.Service) (execute func() error, interrupt func(error)) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	return func() error {
			defer close(done)
			return s.Serve(ctx)
		}, func(error) {
			cancel()
			<-done
		}
}

// await waits until the first workers have started, tells the world, and then
// waits for a reason to stop.
func (m *master) await(ctx context.Context) error {
	if err := m.handOut(ctx); err != nil {
		return fmt.Errorf("hand out the projects: %w", err)
	}
	if err := m.pool.await(ctx, m.stopping); err != nil {
		return fmt.Errorf("no worker became ready: %w; see %s", err, m.paths.WorkerLog(0))
	}
	select {
	case <-m.stopping:
		return nil
	default:
	}
	m.ready.Store(true)
	m.notify.ready()
	if m.o.Ready != nil {
		if err := m.o.Ready(); err != nil {
			m.log.Warn("tell that the daemon is ready", "error", err)
		}
	}
	m.log.Info("daemon ready", "workers", m.settings().Daemon.MaxProcesses, "projects", m.projectsNow().Len())
	select {
	case <-m.stopping:
	case <-ctx.Done():
	}
	return nil
}

// handOut gives the dispatcher its first projects, unless a reload was faster.
func (m *master) handOut(ctx context.Context) error {
	m.reloading.Lock()
	defer m.reloading.Unlock()
	return m.dispatch.SetProjects(ctx, m.projectsNow().Projects())
}

// stop begins the end. It may be called more than once.
func (m *master) stop() {
	m.stopOnce.Do(func() { close(m.stopping) })
}

// kill ends everything that runs, without grace, and then the daemon.
func (m *master) kill() {
	m.stop()
	m.pool.kill()
}

// leave prepares the end of the workers: from here on no run starts.
func (m *master) leave() {
	m.stop()
	m.ready.Store(false)
	m.notify.stopping()
	m.log.Info("daemon is stopping", "timeout", m.settings().Daemon.ShutdownTimeout)
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	if err := m.dispatch.Drain(ctx); err != nil {
		m.log.Error("stop handing out runs", "error", err)
	}
}

// drainTimeout bounds the wait for a dispatcher that does not answer; its loop
// never takes that long.
const drainTimeout = 2 * time.Second

// settings returns those in force.
func (m *master) settings() config.Settings {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.loaded.Settings
}
