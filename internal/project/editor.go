package project

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/tailscale/hujson"
)

// An editor changes members of objects in a file that people also edit: the
// bytes of what is not concerned stay, what is new looks like its neighbours.
//
// In its methods, outer is the indentation of the line that closes the object.
type editor struct {
	unit    string // one step of indentation
	newline string
}

func newEditor(root *hujson.Object, file []byte) editor {
	e := editor{newline: "\n"}
	if bytes.Contains(file, []byte("\r\n")) {
		e.newline = "\r\n"
	}
	e.unit = inner(root, "  ")
	return e
}

// merge makes of an object that said old one that says new. What is in neither
// stays. A nil object says nothing.
func (e editor) merge(object, old, new *hujson.Object, outer string) error {
	for _, m := range members(new) {
		name := nameOf(m)
		was, have := find(old, name), find(object, name)
		if was != nil && bytes.Equal(was.Pack(), m.Value.Pack()) {
			continue
		}
		if haveObject, newObject := asObject(have), asObject(&m.Value); haveObject != nil && newObject != nil {
			if err := e.merge(haveObject, asObject(was), newObject, inner(object, outer+e.unit)); err != nil {
				return err
			}
			continue
		}
		e.set(object, name, m.Value.Value, outer)
	}
	for _, m := range members(old) {
		if name := nameOf(m); find(new, name) == nil {
			if err := e.prune(object, name, m.Value); err != nil {
				return err
			}
		}
	}
	return nil
}

// prune removes what old says from an object. A member that says more, such as
// an object with keys that are not ours, keeps that.
func (e editor) prune(object *hujson.Object, name string, old hujson.Value) error {
	have := find(object, name)
	if have == nil {
		return nil
	}
	if haveObject, oldObject := asObject(have), asObject(&old); haveObject != nil && oldObject != nil {
		for _, m := range oldObject.Members {
			if err := e.prune(haveObject, nameOf(m), m.Value); err != nil {
				return err
			}
		}
		if len(haveObject.Members) > 0 {
			return nil
		}
	}
	return e.remove(object, name)
}

// remove removes a member with the comments that belong to it.
func (e editor) remove(object *hujson.Object, name string) error {
	commas := trailingComma(object)
	pointer := "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
	patch, err := json.Marshal([]map[string]string{{"op": "remove", "path": pointer}})
	if err != nil {
		return err
	}
	v := hujson.Value{Value: object}
	if err := v.Patch(patch); err != nil {
		return err
	}
	if n := len(object.Members); n > 0 {
		last := &object.Members[n-1].Value
		switch {
		case commas && last.AfterExtra == nil:
			last.AfterExtra = hujson.Extra{}
		case !commas: // or what stood before the comma would bring it back
			object.AfterExtra = append(last.AfterExtra, object.AfterExtra...)
			last.AfterExtra = nil
		}
	}
	return nil
}

// set gives a member its value, as the last one if it is new.
func (e editor) set(object *hujson.Object, name string, value hujson.ValueTrimmed, outer string) {
	indent := inner(object, outer+e.unit)
	value = e.render(value, indent)
	if have := find(object, name); have != nil {
		have.Value = value
		return
	}
	member := hujson.ObjectMember{
		Name:  hujson.Value{Value: hujson.String(name)},
		Value: hujson.Value{BeforeExtra: hujson.Extra(" "), Value: value},
	}
	if trailingComma(object) {
		member.Value.AfterExtra = hujson.Extra{}
	}
	if onOneLine(object) {
		member.Name.BeforeExtra = hujson.Extra(" ")
	} else {
		member.Name.BeforeExtra, object.AfterExtra = e.makeRoom(object.AfterExtra, indent, outer)
	}
	object.Members = append(object.Members, member)
}

// makeRoom divides what stands between the last member and the closing brace:
// comments stay where they are, after the old last member and so before the new
// one, the rest closes the object.
func (e editor) makeRoom(extra hujson.Extra, indent, outer string) (before, after hujson.Extra) {
	comments := bytes.TrimRight(extra, " \t\r\n")
	if i := bytes.LastIndexByte(extra, '\n'); i >= len(comments) {
		outer = string(extra[i+1:]) // the brace has a line of its own already
	}
	before = append(before, comments...)
	before = append(before, e.newline+indent...)
	return before, hujson.Extra(e.newline + outer)
}

// child returns the object at a key of an object, made if need be.
func (e editor) child(object *hujson.Object, name string) *hujson.Object {
	if asObject(find(object, name)) == nil {
		e.set(object, name, &hujson.Object{}, "")
	}
	return asObject(find(object, name))
}

// render lays a value out: members on lines of their own, elements on one line.
func (e editor) render(v hujson.ValueTrimmed, indent string) hujson.ValueTrimmed {
	switch v := v.(type) {
	case *hujson.Object:
		if len(v.Members) == 0 {
			return &hujson.Object{}
		}
		object := &hujson.Object{AfterExtra: hujson.Extra(e.newline + indent)}
		for _, m := range v.Members {
			object.Members = append(object.Members, hujson.ObjectMember{
				Name:  hujson.Value{BeforeExtra: hujson.Extra(e.newline + indent + e.unit), Value: m.Name.Value},
				Value: hujson.Value{BeforeExtra: hujson.Extra(" "), Value: e.render(m.Value.Value, indent+e.unit)},
			})
		}
		return object
	case *hujson.Array:
		array := &hujson.Array{}
		for i, element := range v.Elements {
			rendered := hujson.Value{Value: e.render(element.Value, indent)}
			if i > 0 {
				rendered.BeforeExtra = hujson.Extra(" ")
			}
			array.Elements = append(array.Elements, rendered)
		}
		return array
	}
	return v
}

// tree returns a project as it stands in the file.
func tree(p Project) (*hujson.Object, error) {
	data, err := marshal(p)
	if err != nil {
		return nil, err
	}
	v, err := hujson.Parse(data)
	if err != nil {
		return nil, err
	}
	object := asObject(&v)
	object.Members = object.Members[1:] // the id is the key
	return object, nil
}

func find(object *hujson.Object, name string) *hujson.Value {
	for i, m := range members(object) {
		if nameOf(m) == name {
			return &object.Members[i].Value
		}
	}
	return nil
}

func members(object *hujson.Object) []hujson.ObjectMember {
	if object == nil {
		return nil
	}
	return object.Members
}

func asObject(v *hujson.Value) *hujson.Object {
	if v == nil {
		return nil
	}
	object, _ := v.Value.(*hujson.Object)
	return object
}

func trailingComma(object *hujson.Object) bool {
	n := len(object.Members)
	return n > 0 && object.Members[n-1].Value.AfterExtra != nil
}

func onOneLine(object *hujson.Object) bool {
	return len(object.Members) > 0 && !bytes.Contains(object.Members[0].Name.BeforeExtra, []byte("\n"))
}

// inner returns the indentation of an object's members, or def if they show none.
func inner(object *hujson.Object, def string) string {
	if len(object.Members) == 0 || onOneLine(object) {
		return def
	}
	before := object.Members[0].Name.BeforeExtra
	return string(before[bytes.LastIndexByte(before, '\n')+1:])
}
