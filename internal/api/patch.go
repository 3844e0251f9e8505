package api

import (
	"encoding/json"
	"fmt"

	"github.com/poppobuilder/poppobuilder/internal/project"
)

// object is a JSON object whose values are left as they are.
type object map[string]json.RawMessage

// decodeProject reads a project. What data does not say has its default. It
// does not check ranges: the registry does.
func decodeProject(data []byte) (project.Project, error) {
	var p project.Project
	if err := json.Unmarshal(data, &p); err != nil {
		return p, NewProblem(CodeInvalidProject, fmt.Sprintf("the project is not valid: %v", err))
	}
	return p, nil
}

// patchProject applies a JSON merge patch to a project. What GET gave can be
// edited and sent back: keys that no project has in the registry mean nothing.
func patchProject(p project.Project, patch object) (project.Project, error) {
	data, err := json.Marshal(p)
	if err != nil {
		return p, err
	}
	var o object
	if err := json.Unmarshal(data, &o); err != nil {
		return p, err
	}
	if data, err = json.Marshal(mergePatch(o, patch)); err != nil {
		return p, err
	}
	patched, err := decodeProject(data)
	if err == nil && patched.ID != p.ID {
		err = NewProblem(CodeInvalidProject, "an id cannot change; add the project anew under the other one")
	}
	if err != nil {
		return p, err
	}
	return patched, nil
}

// mergePatch returns target as a JSON merge patch changes it (RFC 7396,
// section 2).
func mergePatch(target, patch object) object {
	if target == nil {
		target = object{}
	}
	for key, value := range patch {
		inner, isObject := asObject(value)
		switch {
		case !isObject:
			target[key] = value
		case inner == nil: // null
			delete(target, key)
		default:
			old, _ := asObject(target[key]) // anything else is replaced
			target[key] = mergePatch(old, inner).raw()
		}
	}
	return target
}

// asObject returns a JSON object, nil for null.
func asObject(data json.RawMessage) (object, bool) {
	var o object
	if err := json.Unmarshal(data, &o); err != nil {
		return nil, false
	}
	return o, true
}

// raw returns o as JSON.
func (o object) raw() json.RawMessage {
	data, err := json.Marshal(o)
	if err != nil {
		panic(err) // its values came out of a decoder
	}
	return data
}
