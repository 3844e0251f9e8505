package config

import (
	"bytes"
	"slices"
	"strings"

	"github.com/tailscale/hujson"
)

// The text is edited at the offsets of the syntax tree. To patch the tree and
// pack it again would move comments, and put a new member on the line of its
// neighbour.

// set returns the text with the literal as the value of the key.
func (d *document) set(key, literal string) []byte {
	if d.root == nil {
		return d.withRoot().set(key, literal)
	}
	at := section{d.root, d.start, d.end}
	for {
		name, rest, more := strings.Cut(key, ".")
		i := indexOf(at.obj, name)
		if i < 0 {
			return d.insert(at, key, literal)
		}
		value := at.obj.Members[i].Value
		if !more {
			return d.splice(cut{value.StartOffset, value.EndOffset, literal})
		}
		obj, ok := value.Value.(*hujson.Object)
		if !ok {
			return d.src // whose check will say that this must be an object
		}
		at, key = section{obj, value.StartOffset, value.EndOffset}, rest
	}
}

// section is an object with its offsets, braces included.
type section struct {
	obj        *hujson.Object
	start, end int
}

// withRoot appends an empty object to a text that has none.
func (d *document) withRoot() *document {
	text := bytes.Clone(d.src)
	if len(text) > 0 && !bytes.HasSuffix(text, []byte("\n")) {
		text = append(text, d.newline()...)
	}
	start := len(text)
	text = append(text, "{}"+d.newline()...)
	return &document{src: text, root: &hujson.Object{}, start: start, end: start + len("{}")}
}

// insert adds a member, and the sections that its path names, at the end of
// an object, in the layout of what is there.
func (d *document) insert(at section, path, literal string) []byte {
	var (
		cuts    []cut
		closing = at.end - len("}")
		tail    = string(d.src[closing-len(at.obj.AfterExtra) : closing]) // blanks and comments before the brace
		lay     = d.layout(at, tail)
		text    = lay.member(path, literal)
		blanks  = len(tail) - len(strings.TrimRight(tail, " \t"))
	)
	if n := len(at.obj.Members); n > 0 {
		last := at.obj.Members[n-1].Value
		if last.AfterExtra != nil { // a trailing comma
			text += ","
		} else {
			cuts = append(cuts, cut{last.EndOffset, last.EndOffset, ","})
		}
	}
	p := closing - blanks
	switch before := strings.TrimRight(tail, " \t"); {
	case !lay.lines:
		if len(at.obj.Members) > 0 {
			text = lay.space + text
		}
	case strings.HasSuffix(before, "\n"): // the brace has a line of its own
		p -= len(before) - len(strings.TrimSuffix(strings.TrimSuffix(before, "\n"), "\r"))
		text = lay.newline + lay.indent + text
	default:
		text = lay.newline + lay.indent + text
		if len(at.obj.Members) == 0 {
			text += lay.newline + lay.outer
		}
	}
	return d.splice(append(cuts, cut{p, p, text})...)
}

// layout is how the members of an object are written.
type layout struct {
	lines         bool   // each on a line of its own
	newline       string // "\n" or "\r\n"
	outer, indent string // of the object, of its members
	unit          string // one step
	space         string // after colon and comma
}

func (d *document) layout(at section, tail string) layout {
	lay := layout{newline: d.newline(), outer: d.indentAt(at.start), unit: "  ", space: " "}
	if len(d.root.Members) > 0 {
		first := d.root.Members[0]
		if unit := d.indentAt(first.Name.StartOffset); unit != "" && bytes.ContainsRune(first.Name.BeforeExtra, '\n') {
			lay.unit = unit
		}
		if len(first.Value.BeforeExtra) == 0 {
			lay.space = ""
		}
	}
	lay.indent = lay.outer + lay.unit
	n := len(at.obj.Members)
	if n == 0 {
		oneLine := len(d.root.Members) > 0 && !bytes.ContainsRune(bytes.TrimSpace(d.src), '\n')
		lay.lines = !oneLine || strings.Contains(tail, "\n")
		return lay
	}
	last := at.obj.Members[n-1].Name
	ownLine := bytes.ContainsRune(last.BeforeExtra, '\n')
	lay.lines = ownLine || strings.Contains(tail, "\n")
	if ownLine {
		lay.indent = d.indentAt(last.StartOffset)
	}
	return lay
}

// member is the text of a member, without what surrounds it.
func (lay layout) member(path, literal string) string {
	name, rest, more := strings.Cut(path, ".")
	text := `"` + name + `":` + lay.space
	if !more {
		return text + literal
	}
	if !lay.lines {
		return text + "{" + lay.member(rest, literal) + "}"
	}
	inner := lay
	inner.indent += lay.unit
	return text + "{" + lay.newline + inner.indent + inner.member(rest, literal) + lay.newline + lay.indent + "}"
}

// indentAt returns the blanks at the start of the line of an offset.
func (d *document) indentAt(offset int) string {
	line := d.src[bytes.LastIndexByte(d.src[:offset], '\n')+1 : offset]
	return string(line[:len(line)-len(bytes.TrimLeft(line, " \t"))])
}

func (d *document) newline() string {
	if i := bytes.IndexByte(d.src, '\n'); i > 0 && d.src[i-1] == '\r' {
		return "\r\n"
	}
	return "\n"
}

// unset returns the text without the member, one comma, and the line if
// nothing else was on it.
func (d *document) unset(key string) []byte {
	obj, rest := d.root, key
	for {
		name, below, more := strings.Cut(rest, ".")
		i := indexOf(obj, name)
		if i < 0 {
			return d.src
		}
		if !more {
			return d.remove(obj, i)
		}
		obj, _ = obj.Members[i].Value.Value.(*hujson.Object)
		rest = below
	}
}

func (d *document) remove(obj *hujson.Object, i int) []byte {
	m := obj.Members[i]
	start, end := m.Name.StartOffset, m.Value.EndOffset
	last := i == len(obj.Members)-1
	var cuts []cut
	switch {
	case !last || m.Value.AfterExtra != nil:
		if comma := end + len(m.Value.AfterExtra); len(bytes.TrimSpace(m.Value.AfterExtra)) == 0 {
			end = comma + 1
		} else { // a comment stands before the comma
			cuts = append(cuts, cut{comma, comma + 1, ""})
		}
	case i > 0: // a file without trailing commas stays one
		before := obj.Members[i-1].Value
		comma := before.EndOffset + len(before.AfterExtra)
		cuts = append(cuts, cut{comma, comma + 1, ""})
	}
	start, end = d.widen(start, end, last)
	return d.splice(append(cuts, cut{start, end, ""})...)
}

// widen takes the blanks in that a removed piece leaves behind.
func (d *document) widen(start, end int, last bool) (int, int) {
	left := len(bytes.TrimRight(d.src[:start], " \t"))
	right := len(d.src) - len(bytes.TrimLeft(d.src[end:], " \t"))
	line := bytes.TrimPrefix(d.src[right:], []byte("\r"))
	alone := left == 0 || d.src[left-1] == '\n'
	switch {
	case alone && bytes.HasPrefix(line, []byte("\n")):
		return left, len(d.src) - len(line) + 1
	case last && !alone:
		return left, end
	default:
		return start, right
	}
}

// cut replaces the bytes from start to end.
type cut struct {
	start, end int
	text       string
}

// splice returns the text with the cuts, which do not overlap, made.
func (d *document) splice(cuts ...cut) []byte {
	slices.SortStableFunc(cuts, func(a, b cut) int { return a.start - b.start })
	var out []byte
	done := 0
	for _, c := range cuts {
		out = append(append(out, d.src[done:c.start]...), c.text...)
		done = c.end
	}
	return append(out, d.src[done:]...)
}
