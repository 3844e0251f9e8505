package dispatch_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/poppobuilder/poppobuilder/internal/dispatch"
	"github.com/poppobuilder/poppobuilder/internal/project"
	"github.com/poppobuilder/poppobuilder/internal/runs"
	"github.com/poppobuilder/poppobuilder/procworker/ipc"
	"github.com/poppobuilder/poppobuilder/schedule"
)

// A day of a busy daemon, the one on which the clock jumps: 100 projects of every
// kind on 10 workers, under each strategy.
func TestADay(t *testing.T) {
	for kind := schedule.RoundRobin; kind <= schedule.Fair; kind++ {
		t.Run(kind.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { newDay(t, kind).live() })
		})
	}
}

const (
	dayWorkers = 10
	daySlice   = 10 * time.Minute
)

// A day is a dispatcher among workers that sleep instead of working.
type day struct {
	*dispatch.Dispatcher
	t        *testing.T
	kind     schedule.Kind
	zone     *time.Location
	store    *runs.Memory
	projects []project.Project
	begin    time.Time

	mu      sync.Mutex
	dice    *rand.Rand
	workers [dayWorkers]chan string // tells the run of a busy worker to stop, and why; nil: idle
	active  map[string]bool         // projects with a run
	over    bool
	running sync.WaitGroup
}

func newDay(t *testing.T, kind schedule.Kind) *day {
	d := &day{
		t: t, kind: kind, zone: berlin(t), store: runs.NewMemory(1 << 20),
		dice: rand.New(rand.NewPCG(1, uint64(kind))), active: make(map[string]bool),
	}
	add := func(n int, prefix string, edits ...func(*project.Project)) {
		for i := range n {
			p := agent(fmt.Sprintf("%s%d", prefix, i), edits...)
			p.Config.Priority = 40 + 5*(i%4)
			p.Config.Weight = float64(1 + i%3)
			d.projects = append(d.projects, p)
		}
	}
	now := every(0)
	add(35, "service", now)
	add(5, "endless", now) // the ancestor's program: loops for ever, ends on TERM
	add(5, "failing", now, func(p *project.Project) { p.Config.RetryDelay = new(time.Duration) })
	add(20, "polling", every(20*time.Minute), jitter(5*time.Minute))
	add(15, "hourly", cron("0 * * * *", "Europe/Berlin"))
	add(5, "nightly", cron("30 2 * * *", "Europe/Berlin"))
	add(5, "shifted", cron("*/30 1-4 * * *", "Europe/Berlin"), jitter(10*time.Minute))
	add(10, "office", every(time.Hour), func(p *project.Project) {
		p.Config.ActiveHours = &project.ActiveHours{Start: "09:00", End: "17:00", Timezone: "Europe/Berlin"}
	})
	return d
}

func (d *day) live() {
	at, _ := time.ParseInLocation("2006-01-02 15:04", "2026-03-28 12:00", d.zone)
	time.Sleep(time.Until(at))
	d.begin = time.Now()
	settings := sliced(daySlice)
	settings.Strategy = d.kind
	d.Dispatcher = dispatch.New(dispatch.Options{
		Store: d.store, Pool: d, Log: slog.New(slog.DiscardHandler), Settings: settings,
		LogPath: func(string) string { return "" },
	})
	ctx, cancel := context.WithCancel(d.t.Context())
	served := make(chan error)
	go func() { served <- d.Serve(ctx) }()
	if err := d.SetProjects(ctx, d.projects); err != nil {
		d.t.Fatal(err)
	}
	for n := range dayWorkers {
		d.WorkerReady(n, 1)
	}
	time.Sleep(24 * time.Hour)
	synctest.Wait()
	d.check()

	d.mu.Lock()
	d.over = true
	d.mu.Unlock()
	_ = d.SetProjects(ctx, nil)
	d.running.Wait()
	cancel()
	<-served
	d.Close()
}

// Send starts a run, which takes its time, or stops one.
func (d *day) Send(n int, _ uint64, body ipc.Body) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch m := body.(type) {
	case ipc.Cancel:
		d.workers[n] <- m.Reason
	case ipc.Run:
		if d.workers[n] != nil || d.active[m.Run.Project] {
			d.t.Errorf("run of %s for worker %d, busy: %t, has a run: %t", m.Run.Project, n, d.workers[n] != nil, d.active[m.Run.Project])
			return
		}
		stop := make(chan string, 2)
		d.workers[n], d.active[m.Run.Project] = stop, true
		length := d.length(m.Run.Project)
		d.running.Go(func() { d.work(n, m.Run, length, stop) })
	}
}

func (d *day) Replace(n int, _ uint64, why string) { d.t.Errorf("worker %d is replaced: %s", n, why) }

// length is how long the next run of a project takes.
func (d *day) length(id string) time.Duration {
	minutes := map[string]int{"service": 12, "endless": 1 << 20, "polling": 4, "hourly": 10, "nightly": 60, "shifted": 1, "office": 20}
	mean, ok := minutes[strings.TrimRight(id, "0123456789")]
	if !ok {
		return 10 * time.Second // the failing ones
	}
	return time.Duration(mean)*time.Minute/2 + time.Duration(d.dice.Int64N(int64(time.Duration(mean)*time.Minute)))
}

func (d *day) work(n int, run ipc.RunSpec, length time.Duration, stop <-chan string) {
	d.RunStarted(n, 1, ipc.Started{Run: run.ID, PID: 1})
	done := ipc.Finished{Run: run.ID}
	timer := time.NewTimer(length)
	defer timer.Stop()
	select {
	case <-timer.C:
		code := 0
		if strings.HasPrefix(run.Project, "failing") {
			code = 1
		}
		done.ExitCode = &code
	case done.Reason = <-stop:
		time.Sleep(2 * time.Second)
		done.Signal = "SIGTERM"
	}
	d.mu.Lock()
	d.workers[n], d.active[run.Project] = nil, false
	d.mu.Unlock()
	d.RunFinished(n, 1, done)
}

// check looks at the history of the day.
func (d *day) check() {
	history := make(map[string][]runs.Run) // the oldest first
	used := make(map[string]time.Duration)
	var total time.Duration
	list := d.store.List(runs.Filter{})
	slices.Reverse(list)
	for _, run := range list {
		history[run.Project] = append(history[run.Project], run)
		if !run.StartedAt.IsZero() {
			end := run.FinishedAt
			if end.IsZero() {
				end = time.Now()
			}
			used[run.Project] += end.Sub(run.StartedAt)
			total += end.Sub(run.StartedAt)
		}
	}
	if busy := total.Hours() / (24 * dayWorkers); busy < 0.99 {
		d.t.Errorf("the workers were busy for %.3f of the day only", busy)
	}
	for _, p := range d.projects {
		d.checkProject(p, history[p.ID])
	}
	d.checkShares(history, used)
	d.t.Logf("%d runs", len(list))
}

func (d *day) checkProject(p project.Project, history []runs.Run) {
	started := 0
	for i, run := range history {
		if !run.StartedAt.IsZero() {
			started++
		}
		if i > 0 && !run.StartedAt.IsZero() && run.StartedAt.Before(history[i-1].FinishedAt) {
			d.t.Errorf("%s has two runs at once: %+v, %+v", p.ID, history[i-1], run)
		}
		if w, _ := p.Config.Window(); w != nil && !run.StartedAt.IsZero() && !w.Open(run.StartedAt) {
			d.t.Errorf("%s started at %v", p.ID, run.StartedAt)
		}
	}
	if started == 0 {
		d.t.Errorf("%s starved", p.ID)
	}
	cron, _ := p.Config.CronTimes()
	if cron == nil {
		return
	}
	for at := cron.Next(d.begin); at.Before(time.Now().Add(-15 * time.Minute)); at = cron.Next(at) {
		d.checkTime(p, history, at)
	}
	if strings.HasPrefix(p.ID, "nightly") {
		want := time.Date(2026, 3, 29, 1, 0, 0, 0, time.UTC) // 3:00 in Berlin: 2:30 does not exist
		if !history[0].QueuedAt.Equal(want) || history[0].Reason != runs.Schedule {
			d.t.Errorf("%s was queued at %v", p.ID, history[0].QueuedAt)
		}
	}
}

// checkTime finds the run that served a time: it was queued when it was due, or
// when the run that executed then had ended.
func (d *day) checkTime(p project.Project, history []runs.Run, at time.Time) {
	due := at
	if p.Config.Jitter != nil {
		due = at.Add(*p.Config.Jitter)
	}
	for i, run := range history {
		if run.StartedAt.IsZero() || !run.StartedAt.Before(at) {
			if i > 0 && history[i-1].FinishedAt.After(due) {
				due = history[i-1].FinishedAt
			}
			if run.QueuedAt.After(due) {
				d.t.Errorf("%s: what was due at %v was queued at %v", p.ID, at, run.QueuedAt)
			}
			return
		}
	}
	d.t.Errorf("%s: nothing served %v", p.ID, at)
}

// checkShares compares those that always want a turn: by the number of turns, by
// that over the weight, by time over the weight. Who fails all the time has no
// more than the others have.
func (d *day) checkShares(history map[string][]runs.Run, used map[string]time.Duration) {
	measure := map[schedule.Kind]func(project.Project) float64{
		schedule.RoundRobin: func(p project.Project) float64 { return float64(len(history[p.ID])) },
		schedule.Priority:   func(p project.Project) float64 { return used[p.ID].Seconds() }, // there are no shares
		schedule.Weighted:   func(p project.Project) float64 { return float64(len(history[p.ID])) / p.Config.Weight },
		schedule.Fair:       func(p project.Project) float64 { return used[p.ID].Seconds() / p.Config.Weight },
	}[d.kind]
	var healthy, failing []float64
	for _, p := range d.projects {
		switch {
		case strings.HasPrefix(p.ID, "endless") && d.kind == schedule.Fair, strings.HasPrefix(p.ID, "service"):
			healthy = append(healthy, measure(p))
		case strings.HasPrefix(p.ID, "failing"):
			failing = append(failing, measure(p))
		}
	}
	least := map[schedule.Kind]float64{schedule.RoundRobin: 0.99, schedule.Weighted: 0.99, schedule.Fair: 0.99}[d.kind]
	got := jain(healthy)
	if got < least {
		d.t.Errorf("Jain's index is %.4f, want at least %.2f: %.0f", got, least, healthy)
	}
	// A lane that is away for seconds only stands in line sooner than others.
	if most := 1.25 * slices.Max(healthy); slices.Max(failing) > most {
		d.t.Errorf("those that fail had %.0f, at most %.0f", failing, most)
	}
	d.t.Logf("Jain's index %.4f; healthy up to %.0f, failing up to %.0f", got, slices.Max(healthy), slices.Max(failing))
}

func jain(shares []float64) float64 {
	var sum, squares float64
	for _, s := range shares {
		sum += s
		squares += s * s
	}
	return sum * sum / (float64(len(shares)) * squares)
}
