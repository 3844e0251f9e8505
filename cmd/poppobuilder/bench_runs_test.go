//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/poppobuilder/poppobuilder/internal/api"
	"github.com/poppobuilder/poppobuilder/internal/config"
	"github.com/poppobuilder/poppobuilder/internal/project"
	"github.com/poppobuilder/poppobuilder/internal/runs"
)

// benchProject is a project whose only purpose is to be run.
func benchProject(id string, interval time.Duration, command ...string) project.Project {
	p := project.Project{ID: id, Path: os.TempDir(), Enabled: true, Config: project.DefaultConfig()}
	p.Config.CheckInterval, p.Config.Command = &interval, command
	return p
}

// BenchmarkRunsPerSecond compares the runs of /bin/true that a daemon with 10
// workers and its durable history does with a bare loop of fork and exec.
// Target: at least 0.5 times as many.
func BenchmarkRunsPerSecond(b *testing.B) {
	const window = 5 * time.Second
	program := build(b)
	paths, _ := startDaemon(b, program, `{"daemon":{"maxProcesses":10,"port":null},"logging":{"level":"warn"},"history":{"maxRuns":100000}}`)
	client := api.NewClient(paths.Socket)
	var floor, ours float64
	for b.Loop() {
		n := 0
		for start := time.Now(); time.Since(start) < window; n++ {
			if err := exec.Command("/bin/true").Run(); err != nil {
				b.Fatal(err)
			}
		}
		floor += float64(n) / window.Seconds()

		for i := range 10 {
			if _, err := client.AddProject(b.Context(), benchProject(fmt.Sprintf("p%d", i), 0, "/bin/true")); err != nil {
				b.Fatal(err)
			}
		}
		<-time.After(time.Second)
		from := time.Now()
		<-time.After(window)
		to := time.Now()
		for i := range 10 {
			if err := client.RemoveProject(b.Context(), fmt.Sprintf("p%d", i)); err != nil {
				b.Fatal(err)
			}
		}
		list, err := client.Runs(b.Context(), api.RunFilter{Limit: api.MaxRunLimit})
		if err != nil {
			b.Fatal(err)
		}
		n = 0
		for _, run := range list {
			if run.State == runs.Succeeded && run.FinishedAt.After(from) && run.FinishedAt.Before(to) {
				n++
			}
		}
		ours += float64(n) / window.Seconds()
	}
	b.ReportMetric(floor/float64(b.N), "bare/s")
	b.ReportMetric(ours/float64(b.N), "runs/s")
	b.ReportMetric(ours/floor, "ratio")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkEnqueueToStart compares the time from the request for a run, on an
// idle daemon, until its command runs with fork and exec of the same command
// plus one fsync. Target: at most 2 times as long.
func BenchmarkEnqueueToStart(b *testing.B) {
	program := build(b)
	paths, _ := startDaemon(b, program, `{"daemon":{"port":null}}`)
	client := api.NewClient(paths.Socket)
	name := filepath.Join(paths.Home, "fifo")
	if err := exec.Command("mkfifo", name).Run(); err != nil {
		b.Fatal(err)
	}
	fifo, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer fifo.Close()
	synced, err := os.Create(filepath.Join(paths.State, "synced"))
	if err != nil {
		b.Fatal(err)
	}
	defer synced.Close()
	command := []string{"/bin/sh", "-c", "echo >" + name}
	await := func() error {
		_, err := fifo.Read(make([]byte, 16))
		return err
	}
	if _, err := client.AddProject(b.Context(), benchProject("p", 24*time.Hour, command...)); err != nil {
		b.Fatal(err)
	}
	if err := await(); err != nil { // it is due at once
		b.Fatal(err)
	}
	idle := func() {
		for {
			s, err := client.Status(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			if s.Queue.Running+s.Queue.Queued == 0 {
				return
			}
		}
	}
	idle()
	var floor, ours time.Duration
	for i := 0; b.Loop(); i++ {
		var c *exec.Cmd
		floor += measure(b, func() error {
			c = exec.Command(command[0], command[1:]...)
			if err := c.Start(); err != nil {
				return err
			}
			return await()
		})
		if err := c.Wait(); err != nil {
			b.Fatal(err)
		}
		floor += measure(b, func() error {
			_, err := synced.WriteAt(make([]byte, 4096), int64(i)*4096)
			return errors.Join(err, synced.Sync())
		})
		ours += measure(b, func() error {
			if _, err := client.RunProject(b.Context(), "p"); err != nil {
				return err
			}
			return await()
		})
		idle()
	}
	b.ReportMetric(float64(floor.Microseconds())/float64(b.N), "floor-us")
	b.ReportMetric(float64(ours.Microseconds())/float64(b.N), "start-us")
	b.ReportMetric(float64(ours)/float64(floor), "ratio")
}

// BenchmarkHistory measures a daemon with 1,000 projects and 100,000 runs of
// history: its start beside that of one that has the projects only, and of one
// that has neither, and the memory of the master after it has listed some.
// Target: 40 MiB.
func BenchmarkHistory(b *testing.B) {
	program := build(b)
	const settings = `{"daemon":{"port":null},"history":{"maxRuns":200000}}`
	var bare, empty, full time.Duration
	for b.Loop() {
		bare += measureStart(b, program, settings, 0, 0)
		empty += measureStart(b, program, settings, 1000, 0)
		full += measureStart(b, program, settings, 1000, 100_000)
	}
	b.ReportMetric(float64(bare.Milliseconds())/float64(b.N), "bare-ms")
	b.ReportMetric(float64(empty.Milliseconds())/float64(b.N), "empty-ms")
	b.ReportMetric(float64(full.Milliseconds())/float64(b.N), "full-ms")
	b.ReportMetric(float64(full)/float64(empty), "ratio")
	b.ReportMetric(0, "ns/op")
}

// measureStart measures "daemon start" with a history.
func measureStart(b *testing.B, program, settings string, projects, history int) (took time.Duration) {
	b.Helper()
	home, err := os.MkdirTemp("/tmp", "pb")
	if err != nil {
		b.Fatal(err)
	}
	defer os.RemoveAll(home)
	paths := config.NewPaths(home)
	if err := os.WriteFile(paths.Config, []byte(settings), 0o600); err != nil {
		b.Fatal(err)
	}
	invent(b, paths, projects, history)
	daemon := func(command string) error {
		c := exec.Command(program, "daemon", command)
		c.Env = append(os.Environ(), config.HomeVariable+"="+home)
		if out, err := c.CombinedOutput(); err != nil {
			return fmt.Errorf("daemon %s: %w: %s", command, err, out)
		}
		return nil
	}
	took = measure(b, func() error { return daemon("start") })
	client := api.NewClient(paths.Socket)
	status, err := client.Status(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	for i := range projects {
		filter := api.RunFilter{Project: benchID(i)}
		if _, err := client.Runs(b.Context(), filter); err != nil {
			b.Fatal(err)
		}
	}
	if projects > 0 {
		b.ReportMetric(float64(residentBytes(b, status.PID))/(1<<20), "master-MiB")
	}
	if err := daemon("stop"); err != nil {
		b.Fatal(err)
	}
	return took
}

func benchID(i int) string { return fmt.Sprintf("project-%d", i) }

// invent fills a home with projects that are not due, and their history.
func invent(b *testing.B, paths config.Paths, projects, history int) {
	b.Helper()
	if projects == 0 {
		return
	}
	store := project.Store{Path: paths.Projects}
	err := store.Update(func(r *project.Registry) error {
		for i := range projects {
			if err := r.Add(benchProject(benchID(i), 24*time.Hour, "/bin/true")); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	if err := os.MkdirAll(paths.State, 0o700); err != nil {
		b.Fatal(err)
	}
	db, err := runs.Open(filepath.Join(paths.State, "runs.db"), runs.Options{NoSync: true, Limits: runs.Limits{MaxRuns: history}})
	if err != nil {
		b.Fatal(err)
	}
	code := 0
	for i := range history {
		run, err := db.Enqueue(runs.Request{Project: benchID(i % projects), Reason: runs.Schedule})
		if err != nil {
			b.Fatal(err)
		}
		_, err1 := db.Claim(run.ID, i%10)
		_, err2 := db.Started(run.ID, i+1, nil)
		_, _, err3 := db.Finish(run.ID, runs.Succeeded, runs.Exit{ExitCode: &code, UserMS: 1, SystemMS: 2, MaxRSSBytes: 4 << 20}, nil)
		if err := errors.Join(err1, err2, err3); err != nil {
			b.Fatal(err)
		}
		if i%1000 == 999 {
			if err := db.Commit(); err != nil {
				b.Fatal(err)
			}
		}
	}
	if err := db.Close(); err != nil {
		b.Fatal(err)
	}
}
