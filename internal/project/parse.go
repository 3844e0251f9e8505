package project

import (
	"bytes"
	"errors"
	"fmt"
	"unicode/utf8"

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
	if i := invalidUTF8(d.data); i >= 0 { // the parser would replace it
		d.fault(i, "", "is not UTF-8", "text in UTF-8")
		return hujson.Value{}, false
	}
	root, err := hujson.Parse(d.data)
	if err != nil {
		d.faults = append(d.faults, d.syntaxFault(err))
		return hujson.Value{}, false
	}
	d.duplicates("", root)
	return root, true
}

// syntaxFault takes apart what the parser says: "hujson: line 1, column 2: ...",
// where it counts bytes.
func (d *decoder) syntaxFault(err error) Fault {
	fault := Fault{File: d.file, Problem: err.Error()}
	if inner := errors.Unwrap(err); inner != nil {
		fmt.Sscanf(err.Error(), "hujson: line %d, column %d:", &fault.Line, &fault.Column)
		fault.Problem = inner.Error()
		text := d.data
		for range fault.Line - 1 {
			_, text, _ = bytes.Cut(text, []byte("\n"))
		}
		fault.Column = 1 + utf8.RuneCount(text[:min(max(fault.Column-1, 0), len(text))])
	}
	return fault
}

// invalidUTF8 returns the offset of the first byte that is no UTF-8, or -1.
func invalidUTF8(data []byte) int {
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return -1
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
		f.Column = 1 + utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:])
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
