package master

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/poppobuilder/poppobuilder/internal/api"
	"github.com/poppobuilder/poppobuilder/internal/config"
	"github.com/poppobuilder/poppobuilder/internal/project"
	"github.com/poppobuilder/poppobuilder/procworker/ipc"
)

// Reload reads settings and projects anew. Either all of it is valid and
// applies, or nothing changes. What has begun is not left half done because
// whoever asked is gone.
func (m *master) Reload(ctx context.Context) (api.Reload, error) {
	ctx = context.WithoutCancel(ctx)
	m.reloading.Lock()
	defer m.reloading.Unlock()
	if m.Ready() { // else there is a first readiness to tell, or a stop
		m.notify.reloading()
		defer m.notify.ready()
	}
	result, err := m.reload(ctx)
	last := &api.LastReload{At: time.Now(), OK: err == nil}
	if err != nil {
		last.Error = err.Error()
		m.log.Error("reload refused, the daemon goes on as before", "error", err)
	} else {
		m.log.Info("reloaded", "changed", result.Changed, "restartNeeded", result.RestartNeeded,
			"projectsAdded", result.Projects.Added, "projectsRemoved", result.Projects.Removed, "projectsChanged", result.Projects.Changed)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lastReload = last
	return result, err
}

func (m *master) reload(ctx context.Context) (api.Reload, error) {
	loaded, err := config.Load(config.Options{File: m.paths.Config, Args: m.o.Flags, Environ: m.o.Environ})
	if err != nil {
		return api.Reload{}, invalid(err)
	}
	registry, err := m.projects.Load()
	if err != nil {
		return api.Reload{}, invalid(err)
	}
	old := m.settings()
	result := api.Reload{Changed: []string{}, RestartNeeded: []string{}}
	for _, name := range config.Diff(old, loaded.Settings) {
		if key, ok := config.Lookup(name); ok && key.Live {
			result.Changed = append(result.Changed, name)
		} else {
			result.RestartNeeded = append(result.RestartNeeded, name)
		}
	}
	if len(result.Changed) > 0 {
		if err := m.apply(ctx, loaded.Settings); err != nil {
			return api.Reload{}, err
		}
	}
	// What needs a restart stays as it was started, and is reported again by
	// the next reload.
	loaded.Settings.Daemon.Port, loaded.Settings.Daemon.Host = old.Daemon.Port, old.Daemon.Host
	loaded.Settings.Daemon.Enabled = old.Daemon.Enabled
	m.mu.Lock()
	m.loaded = loaded
	m.mu.Unlock()
	if len(result.Changed) > 0 {
		m.tellWorkers(loaded, result.Changed)
	}
	result.Projects, err = m.takeProjects(ctx, registry)
	return result, err
}

// tellWorkers sends the settings that changed to the workers. Ours needs none of
// them; one of the operator's own may.
func (m *master) tellWorkers(loaded *config.Loaded, changed []string) {
	values := make(map[string]any, len(changed))
	for _, e := range loaded.Entries() {
		if slices.Contains(changed, e.Key) {
			values[e.Key] = e.Value
		}
	}
	config, err := json.Marshal(values)
	if err != nil {
		m.log.Error("tell workers what changed", "error", err)
		return
	}
	m.pool.broadcast(ipc.Reload{Config: config})
}

// invalid is how a caller learns of faults in the files.
func invalid(err error) error {
	var config config.Faults
	var project project.Faults
	if errors.As(err, &config) || errors.As(err, &project) {
		return api.NewProblem(api.CodeInvalidConfig, err.Error())
	}
	return err
}

// apply makes the live settings take effect.
func (m *master) apply(ctx context.Context, s config.Settings) error {
	m.store.SetLimits(historyLimits(s.History))
	if err := m.dispatch.Configure(ctx, dispatchSettings(s)); err != nil {
		return err
	}
	m.pool.apply(m.poolSettings(s))
	m.log.apply(s.Logging)
	return nil
}

// SyncProjects takes projects.json as it is now, also when whoever asked is
// gone.
func (m *master) SyncProjects(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	m.reloading.Lock()
	defer m.reloading.Unlock()
	registry, err := m.projects.Load()
	if err != nil {
		return invalid(err)
	}
	changes, err := m.takeProjects(ctx, registry)
	if err != nil {
		return err
	}
	m.log.Info("projects changed", "added", changes.Added, "removed", changes.Removed, "changed", changes.Changed)
	return nil
}

// takeProjects makes the registry's projects the daemon's. The caller holds
// reloading.
func (m *master) takeProjects(ctx context.Context, registry *project.Registry) (api.ProjectChanges, error) {
	m.mu.Lock()
	old := m.registry
	m.mu.Unlock()
	var changes api.ProjectChanges
	changes.Added, changes.Removed, changes.Changed = project.Diff(old, registry)
	if err := m.dispatch.SetProjects(ctx, registry.Projects()); err != nil {
		return changes, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.registry = registry
	return changes, nil
}
