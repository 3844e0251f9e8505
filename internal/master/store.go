package master

import (
	"errors"
	"path/filepath"

	"github.com/poppobuilder/poppobuilder/internal/api"
	"github.com/poppobuilder/poppobuilder/internal/config"
	"github.com/poppobuilder/poppobuilder/internal/runs"
)

// openRuns opens the queue and history of runs.
func (m *master) openRuns() (*runs.DB, error) {
	return runs.Open(filepath.Join(m.paths.State, "runs.db"), runs.Options{
		Limits: historyLimits(m.loaded.History),
		OnRescue: func(r runs.Rescue) {
			m.log.Warn("the file of runs was damaged and has been replaced", "problem", r.Problem, "kept", r.Aside, "salvaged", r.Salvaged)
		},
	})
}

// closeRuns ends the use of the store. What it could not write it says: those
// runs will be tried again, although they have ended.
func (m *master) closeRuns() {
	if err := m.store.Close(); err != nil {
		m.log.Error("close the file of runs", "error", err)
	}
}

func historyLimits(h config.History) runs.Limits {
	return runs.Limits{MaxRuns: h.MaxRuns, MaxAge: h.MaxAge}
}

// storeTrouble tells what is wrong with the store.
func (m *master) storeTrouble() *api.StoreTrouble {
	h := m.store.Health()
	if h == (runs.Health{}) {
		return nil
	}
	t := &api.StoreTrouble{Since: h.Since}
	if h.Err != nil {
		t.Error = reason(h.Err).Error()
	}
	if r := h.Rescue; r != nil {
		t.Damaged, t.Problem, t.Salvaged = r.Aside, r.Problem, r.Salvaged
	}
	return t
}

// reason returns what is wrong, without what follows from it.
func reason(err error) error {
	if w, ok := errors.AsType[*runs.WriteError](err); ok {
		return w.Err
	}
	return err
}

func isWriteError(err error) bool {
	_, ok := errors.AsType[*runs.WriteError](err)
	return ok
}
