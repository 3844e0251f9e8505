package project

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/tailscale/hujson"
)

// maxDepth is far beyond any sensible file. The parser recurses, and a stack
// that runs out would end the daemon.
const maxDepth = 1000

// parse returns the syntax tree; false if there is none.
func (d *decoder) parse() (hujson.Value, bool) {
	if tooDeep(d.data) {
		d.faults = append(d.faults, Fault{File: d.file, Problem: "is nested too deeply"})
		return hujson.Value{}, false
	}
	root, err := hujson.Parse(d.data)
	if err != nil {
		d.faults = append(d.faults, syntaxFault(d.file, err))
		return hujson.Value{}, false
	}
	d.duplicates("", root)
	return root, true
}

// syntaxFault takes apart what the parser says: "hujson: line 1, column 2: ...".
func syntaxFault(file string, err error) Fault {
	fault := Fault{File: file, Problem: err.Error()}
	if inner := errors.Unwrap(err); inner != nil {
		fmt.Sscanf(err.Error(), "hujson: line %d, column %d:", &fault.Line, &fault.Column)
		fault.Problem = inner.Error()
	}
	return fault
}

// tooDeep counts brackets without a look at strings, which is enough.
func tooDeep(data []byte) bool {
	depth := 0
	for _, c := range data {
		switch c {
		case '{', '[':
			if depth++; depth > maxDepth {
				return true
			}
		case '}', ']':
			depth--
		}
	}
	return false
}

func (d *decoder) fault(offset int, key, problem, allowed string) {
	f := Fault{File: d.file, Key: key, Problem: problem, Allowed: allowed}
	if d.file != "" {
		before := d.data[:offset]
		f.Line = bytes.Count(before, []byte("\n")) + 1
		f.Column = offset - bytes.LastIndexByte(before, '\n')
	}
	d.faults = append(d.faults, f)
}

// duplicates reports keys that an object has twice, at every level: readers
// disagree on which of the two counts.
func (d *decoder) duplicates(key string, v hujson.Value) {
	switch v := v.Value.(type) {
	case *hujson.Object:
		seen := make(map[string]bool, len(v.Members))
		for _, m := range v.Members {
			name := nameOf(m)
			if seen[name] {
				d.fault(m.Name.StartOffset, join(key, name), "is there twice", "each key once")
			}
			seen[name] = true
			d.duplicates(join(key, name), m.Value)
		}
	case *hujson.Array:
		for i, e := range v.Elements {
			d.duplicates(fmt.Sprintf("%s[%d]", key, i), e)
		}
	}
}

func nameOf(m hujson.ObjectMember) string { return m.Name.Value.(hujson.Literal).String() }

func join(key, name string) string {
	if key == "" {
		return name
	}
	return key + "." + name
}
