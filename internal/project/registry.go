package project

import (
	"maps"
	"slices"
	"time"
)

// A Registry is the set of projects, by id. Its zero value is empty and ready.
// It is not safe for concurrent use. What goes in and what comes out are copies.
type Registry struct {
	projects map[string]Project
	file     []byte // what it was read from and Store.Update edits; never changed
}

// Projects returns all projects, sorted by id.
func (r *Registry) Projects() []Project {
	all := make([]Project, 0, r.Len())
	for _, id := range r.ids() {
		all = append(all, r.projects[id].clone())
	}
	return all
}

// Len returns the number of projects.
func (r *Registry) Len() int {
	if r == nil {
		return 0
	}
	return len(r.projects)
}

// Get returns the project of that id, or a [*NotFoundError].
func (r *Registry) Get(id string) (Project, error) {
	if err := r.mustHave(id); err != nil {
		return Project{}, err
	}
	return r.projects[id].clone(), nil
}

// Add adds a project. The error is an [*ExistsError] if the id is taken, or
// [Faults]. A zero CreatedAt becomes the present time, a zero weight
// [DefaultWeight].
func (r *Registry) Add(p Project) error {
	if old, ok := r.projects[p.ID]; ok {
		return &ExistsError{ID: p.ID, Path: old.Path}
	}
	if p.CreatedAt.IsZero() {
		p.CreatedAt = time.Now().UTC().Truncate(time.Millisecond)
	}
	return r.put(p)
}

// Set replaces the project of that id. The error is a [*NotFoundError] or
// [Faults].
func (r *Registry) Set(p Project) error {
	if err := r.mustHave(p.ID); err != nil {
		return err
	}
	return r.put(p)
}

// Remove removes the project of that id, or returns a [*NotFoundError].
func (r *Registry) Remove(id string) error {
	if err := r.mustHave(id); err != nil {
		return err
	}
	delete(r.projects, id)
	return nil
}

// Diff returns the ids that only new has, that only old has, and whose projects
// differ, each sorted. Either registry may be nil.
func Diff(old, new *Registry) (added, removed, changed []string) {
	for _, id := range new.ids() {
		was, err := old.Get(id)
		switch {
		case err != nil:
			added = append(added, id)
		case !was.Equal(new.projects[id]):
			changed = append(changed, id)
		}
	}
	for _, id := range old.ids() {
		if new.mustHave(id) != nil {
			removed = append(removed, id)
		}
	}
	return added, removed, changed
}

func (r *Registry) put(p Project) error {
	if faults := p.validate(); len(faults) > 0 {
		return faults.err()
	}
	if p.Config.Weight == 0 {
		p.Config.Weight = DefaultWeight
	}
	if r.projects == nil {
		r.projects = make(map[string]Project)
	}
	r.projects[p.ID] = p.clone()
	return nil
}

func (r *Registry) ids() []string {
	if r == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(r.projects))
}

func (r *Registry) mustHave(id string) error {
	if r != nil {
		if _, ok := r.projects[id]; ok {
			return nil
		}
	}
	return &NotFoundError{ID: id, Nearest: nearest(id, r.ids())}
}

func (r *Registry) clone() *Registry {
	return &Registry{projects: maps.Clone(r.projects), file: r.file}
}
