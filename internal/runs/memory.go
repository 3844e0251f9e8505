package runs

import (
	"cmp"
	"container/list"
	"slices"
	"sync"
	"time"
)

// DefaultHistory is how many ended runs a [Memory] keeps unless told.
const DefaultHistory = 1000

// Memory is a [Store] that lives as long as its process: for tests, and to see
// what a [DB] ought to do.
type Memory struct {
	history int

	mu    sync.Mutex // guards what follows
	ids   idSource
	runs  map[string]*Run
	last  map[string]Run // of each project
	ended *list.List     // ids of the runs that ended, the oldest first
}

var _ Store = (*Memory)(nil)

// NewMemory returns an empty store that keeps at most history ended runs, or
// [DefaultHistory] if history is 0.
func NewMemory(history int) *Memory {
	return &Memory{
		history: cmp.Or(history, DefaultHistory),
		runs:    make(map[string]*Run),
		last:    make(map[string]Run),
		ended:   list.New(),
	}
}

// Enqueue queues a run. It never fails.
func (m *Memory) Enqueue(r Request) (Run, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return *m.enqueue(r), nil
}

// Expedite makes a queued run one by hand that starts at once.
func (m *Memory) Expedite(id string) (Run, error) { return m.change(id, expedite) }

// Claim gives a queued run to a worker.
func (m *Memory) Claim(id string, worker int) (Run, error) { return m.change(id, claim(worker)) }

// Started notes the process of a running run's command, and its output.
func (m *Memory) Started(id string, pid int, log *LogRange) (Run, error) {
	return m.change(id, started(pid, log))
}

// Finish ends a run and queues what comes next.
func (m *Memory) Finish(id string, state State, exit Exit, next *Request) (ended Run, queued *Run, err error) {
	if ended, err = m.change(id, finish(state, exit)); err != nil {
		return Run{}, nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last[ended.Project] = ended
	m.ended.PushBack(id)
	for m.ended.Len() > m.history {
		delete(m.runs, m.ended.Remove(m.ended.Front()).(string))
	}
	if next != nil {
		r := *m.enqueue(*next)
		queued = &r
	}
	return ended, queued, nil
}

// Commit has nothing to do.
func (m *Memory) Commit() error { return nil }

// Last returns the run of a project that ended last.
func (m *Memory) Last(project string) (Run, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	run, ok := m.last[project]
	return run, ok
}

// Get returns one run.
func (m *Memory) Get(id string) (Run, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	run, ok := m.runs[id]
	if !ok {
		return Run{}, notFound(id)
	}
	return *run, nil
}

// List returns the runs that f selects, the newest first.
func (m *Memory) List(f Filter) []Run {
	selected := m.collect(f.selects)
	slices.Reverse(selected)
	if f.Limit > 0 && len(selected) > f.Limit {
		selected = selected[:f.Limit]
	}
	return selected
}

// Unfinished returns every run that is queued or running, the oldest first.
func (m *Memory) Unfinished() []Run {
	return m.collect(func(run *Run) bool { return !run.State.Final() })
}

// collect returns the runs that keep accepts, the oldest first.
func (m *Memory) collect(keep func(*Run) bool) []Run {
	m.mu.Lock()
	defer m.mu.Unlock()
	var kept []Run
	for _, run := range m.runs {
		if keep(run) {
			kept = append(kept, *run)
		}
	}
	slices.SortFunc(kept, func(a, b Run) int { return cmp.Compare(a.ID, b.ID) })
	return kept
}

// change applies f to one run.
func (m *Memory) change(id string, f change) (Run, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	run, ok := m.runs[id]
	if !ok {
		return Run{}, notFound(id)
	}
	if err := f(run, time.Now()); err != nil {
		return Run{}, err
	}
	return *run, nil
}

// enqueue adds a queued run. The caller holds mu.
func (m *Memory) enqueue(r Request) *Run {
	run := m.ids.newRun(r, time.Now())
	m.runs[run.ID] = run
	return run
}
