package project

import (
	"errors"
	"fmt"

	"github.com/tailscale/hujson"
)

// encode returns the file of old with what r has changed, or nil if nothing has.
func (r *Registry) encode(old *Registry) ([]byte, error) {
	added, removed, changed := Diff(old, r)
	if len(added)+len(removed)+len(changed) == 0 {
		return nil, nil
	}
	// Not a Clone of a tree that is at hand: that would lose trailing commas.
	doc, err := hujson.Parse(old.file)
	if err != nil {
		return nil, err
	}
	root := asObject(&doc)
	e := newEditor(root, old.file)
	projects := e.child(root, "projects")
	for _, id := range removed {
		if err := e.remove(projects, id); err != nil {
			return nil, err
		}
	}
	for _, id := range changed {
		before, errBefore := tree(old.projects[id])
		after, errAfter := tree(r.projects[id])
		if err := errors.Join(errBefore, errAfter); err != nil {
			return nil, err
		}
		if err := e.merge(asObject(find(projects, id)), before, after, inner(projects, e.unit+e.unit)); err != nil {
			return nil, err
		}
	}
	for _, id := range added {
		entry, err := tree(r.projects[id])
		if err != nil {
			return nil, err
		}
		e.set(projects, id, entry, e.unit)
	}

	data := doc.Pack()
	written, err := decode("", data)
	if err != nil {
		return nil, fmt.Errorf("the file would have been damaged, nothing is changed: %w", err)
	}
	if a, b, c := Diff(r, written); len(a)+len(b)+len(c) > 0 {
		return nil, errors.New("the file would have lost changes, nothing is changed")
	}
	return data, nil
}
