package runs

import (
	"cmp"
	"container/list"
	"fmt"
	"slices"
	"sync"
	"time"
)

// DefaultHistory is how many ended runs a [Memory] keeps unless told.
const DefaultHistory = 1000

// Memory is a [Store] that lives as long as its process.
type Memory struct {
	history int

	mu    sync.Mutex // guards what follows
	ids   idSource
	runs  map[string]*Run
	ended *list.List // ids of the runs that ended, the oldest first
}

var _ Store = (*Memory)(nil)

// NewMemory returns an empty store that keeps at most history ended runs, or
// [DefaultHistory] if history is 0.
func NewMemory(history int) *Memory {
	return &Memory{
		history: cmp.Or(history, DefaultHistory),
		runs:    make(map[string]*Run),
		ended:   list.New(),
	}
}

// Enqueue queues a run. It never fails.
func (m *Memory) Enqueue(r Request) (Run, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return *m.enqueue(r), nil
}

// Expedite lets a queued run start at once.
func (m *Memory) Expedite(id string) (Run, error) {
	return m.change(id, func(run *Run) error {
		if run.State != Queued {
			return transitionError(run, Queued)
		}
		run.NotBefore = time.Time{}
		return nil
	})
}

// Claim gives a queued run to a worker.
func (m *Memory) Claim(id string, worker int) (Run, error) {
	return m.change(id, func(run *Run) error {
		if run.State != Queued {
			return transitionError(run, Running)
		}
		run.State = Running
		run.StartedAt = time.Now()
		run.Worker = &worker
		return nil
	})
}

// Started notes the process of a running run's command.
func (m *Memory) Started(id string, pid int) (Run, error) {
	return m.change(id, func(run *Run) error {
		if run.State != Running {
			return transitionError(run, Running)
		}
		run.PID = pid
		return nil
	})
}

// Finish ends a run and queues what comes next.
func (m *Memory) Finish(id string, state State, exit Exit, next *Request) (ended Run, queued *Run, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	run, ok := m.runs[id]
	switch {
	case !ok:
		return Run{}, nil, fmt.Errorf("finish run %s: %w", id, ErrNotFound)
	case run.State.Final() || !state.Final():
		return Run{}, nil, transitionError(run, state)
	case run.State == Queued && state != Cancelled:
		return Run{}, nil, transitionError(run, state)
	}
	run.State = state
	run.FinishedAt = time.Now()
	run.Exit = exit
	m.ended.PushBack(id)
	for m.ended.Len() > m.history {
		delete(m.runs, m.ended.Remove(m.ended.Front()).(string))
	}
	if next != nil {
		r := *m.enqueue(*next)
		queued = &r
	}
	return *run, queued, nil
}

// Get returns one run.
func (m *Memory) Get(id string) (Run, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	run, ok := m.runs[id]
	if !ok {
		return Run{}, fmt.Errorf("run %s: %w", id, ErrNotFound)
	}
	return *run, nil
}

// List returns the runs that f selects, the newest first.
func (m *Memory) List(f Filter) []Run {
	selected := m.collect(func(run *Run) bool {
		return (f.Project == "" || run.Project == f.Project) && (f.State == "" || run.State == f.State)
	})
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
func (m *Memory) change(id string, f func(*Run) error) (Run, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	run, ok := m.runs[id]
	if !ok {
		return Run{}, fmt.Errorf("run %s: %w", id, ErrNotFound)
	}
	if err := f(run); err != nil {
		return Run{}, err
	}
	return *run, nil
}

// enqueue adds a queued run. The caller holds mu.
func (m *Memory) enqueue(r Request) *Run {
	now := time.Now()
	run := &Run{
		ID:        m.ids.next(now),
		Project:   r.Project,
		Origin:    r.Origin,
		Attempt:   max(r.Attempt, 1),
		Failures:  r.Failures,
		Reason:    r.Reason,
		State:     Queued,
		QueuedAt:  now,
		NotBefore: r.NotBefore,
		Args:      r.Args,
	}
	run.Origin = cmp.Or(run.Origin, run.ID)
	m.runs[run.ID] = run
	return run
}

func transitionError(run *Run, to State) error {
	return fmt.Errorf("run %s from %s to %s: %w", run.ID, run.State, to, ErrTransition)
}
