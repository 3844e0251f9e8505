// Victim is the process that the kill test of package runs kills: the real
// dispatcher and store of a daemon, with goroutines for workers. It is a program
// of its own so that it can be built without the race detector, under which a
// start takes ten times as long.
//
//	victim DIRECTORY POINT N
//
// It kills itself at POINT, which it passes N times before. At the point "never"
// it accepts nothing new and ends when all is done.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/poppobuilder/poppobuilder/internal/dispatch"
	"github.com/poppobuilder/poppobuilder/internal/project"
	"github.com/poppobuilder/poppobuilder/internal/runs"
	"github.com/poppobuilder/poppobuilder/procworker/ipc"
)

type victim struct {
	*dispatch.Dispatcher
	dir     string
	point   string
	left    atomic.Int64
	journal *os.File
}

func main() {
	n, err := strconv.ParseInt(os.Args[3], 10, 64)
	if err == nil {
		v := &victim{dir: os.Args[1], point: os.Args[2]}
		v.left.Store(n)
		err = v.run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// pass is called at each point.
func (v *victim) pass(point string) {
	if point == v.point && v.left.Add(-1) < 0 {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}

// note appends a line to the journal, which outlives the process.
func (v *victim) note(what, id string) { fmt.Fprintf(v.journal, "%s %s\n", what, id) }

const projects = 5

func (v *victim) run() (err error) {
	if v.journal, err = os.OpenFile(filepath.Join(v.dir, "journal"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600); err != nil {
		return err
	}
	store, err := runs.Open(filepath.Join(v.dir, "runs.db"), runs.Options{
		Limits: runs.Limits{MaxRuns: 1 << 20},
		NoSync: true, // what is written survives the process all the same
		Fault:  func(point string) error { v.pass(point); return nil },
	})
	if err != nil {
		return err
	}
	if r := store.Health().Rescue; r != nil {
		return fmt.Errorf("the file was set aside: %+v", r)
	}
	v.Dispatcher = dispatch.New(dispatch.Options{
		Store:    store,
		Pool:     v,
		Log:      slog.New(slog.DiscardHandler),
		LogPath:  func(string) string { return "" },
		Settings: dispatch.Settings{Interval: time.Hour, RetryAttempts: 1, RetryDelay: time.Millisecond},
	})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	served := make(chan struct{})
	go func() { _ = v.Serve(ctx); close(served) }()
	for n := range 3 {
		v.WorkerReady(n, 1)
	}
	var all []project.Project
	for i := range projects {
		p := project.Project{ID: strconv.Itoa(i), Path: "/", Enabled: true, Config: project.DefaultConfig()}
		p.Config.Command = []string{"true"}
		all = append(all, p)
	}
	if err := v.SetProjects(ctx, all); err != nil {
		return err
	}
	for i := 0; v.point != "never"; i++ {
		run, err := v.RunNow(ctx, strconv.Itoa(i%projects))
		if err != nil {
			return err
		}
		v.pass("ack")
		v.note("accepted", run.ID)
	}
	for end := time.Now().Add(20 * time.Second); len(store.Unfinished()) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			return fmt.Errorf("these do not end: %+v", store.Unfinished())
		}
	}
	cancel()
	<-served
	return store.Close()
}

// Send makes this process the pool.
func (v *victim) Send(n int, generation uint64, body ipc.Body) {
	if m, ok := body.(ipc.Run); ok {
		v.pass("send")
		go v.execute(n, generation, m.Run)
	}
}

func (v *victim) Replace(int, uint64, string) {}

// execute does what a worker does. A lock shows two runs of a project at once.
func (v *victim) execute(n int, generation uint64, spec ipc.RunSpec) {
	lock, err := os.OpenFile(filepath.Join(v.dir, "lock-"+spec.Project), os.O_CREATE|os.O_RDWR, 0o600)
	if err == nil {
		err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	}
	if err != nil {
		v.note("twice", spec.ID)
	}
	v.note("start", spec.ID)
	v.pass("start")
	v.RunStarted(n, generation, ipc.Started{Run: spec.ID, PID: os.Getpid()})
	code := int(spec.ID[len(spec.ID)-5]) % 2
	v.pass("finish")
	if err := errors.Join(lock.Close()); err != nil {
		v.note("twice", spec.ID)
	}
	v.RunFinished(n, generation, ipc.Finished{Run: spec.ID, ExitCode: &code})
	v.pass("finished")
}
