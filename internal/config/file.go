package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tailscale/hujson"
)

// MaxFileSize is the largest file in bytes that is read. A complete one with
// a comment for every key has less than a hundredth of it.
const MaxFileSize = 1 << 20

// maxNesting bounds the recursion of the parser; a full stack cannot be
// recovered from.
const maxNesting = 10_000

const bom = "\ufeff"

// document is the parsed text of a file.
type document struct {
	bom  bool
	src  []byte         // without the byte order mark
	root *hujson.Object // nil if there is nothing but blanks and comments

	start, end int // offsets of root
}

// parseDocument reads the text of a file. The fault has no file name.
func parseDocument(data []byte) (*document, *Fault) {
	if len(data) > MaxFileSize {
		return nil, &Fault{Problem: "is too large for a settings file", Allowed: formatSize(MaxFileSize)}
	}
	d := &document{}
	d.src, d.bom = bytes.CutPrefix(data, []byte(bom))
	if i := invalidUTF8(d.src); i >= 0 {
		line, column := d.position(i)
		return nil, &Fault{Line: line, Column: column, Problem: "is not UTF-8", Allowed: "a text file in UTF-8"}
	}
	if bytes.Count(d.src, []byte("{"))+bytes.Count(d.src, []byte("[")) > maxNesting {
		return nil, &Fault{Problem: "has too many objects and lists for a settings file"}
	}
	// A last line that is a comment needs no line break here, in hujson it does.
	v, err := hujson.Parse(append(bytes.Clone(d.src), '\n'))
	if err != nil {
		if d.blank() {
			return d, nil
		}
		return nil, d.syntaxFault(err)
	}
	root, ok := v.Value.(*hujson.Object)
	if !ok {
		line, column := d.position(v.StartOffset)
		return nil, &Fault{Line: line, Column: column, Problem: "the file holds " + kindName(v.Value), Allowed: "one object, {...}"}
	}
	d.root, d.start, d.end = root, v.StartOffset, v.EndOffset
	return d, nil
}

// blank reports whether an object at the end is all that the text lacks.
func (d *document) blank() bool {
	v, err := hujson.Parse(append(bytes.Clone(d.src), "\n{}"...))
	return err == nil && v.StartOffset == len(d.src)+1
}

func (d *document) syntaxFault(err error) *Fault {
	f := &Fault{Line: 1, Column: 1, Problem: err.Error(), Allowed: "JSON with comments"}
	// hujson has the position in its message only, counted in bytes.
	if _, scan := fmt.Sscanf(f.Problem, "hujson: line %d, column %d:", &f.Line, &f.Column); scan == nil {
		f.Problem = f.Problem[strings.Index(f.Problem, ": ")+2:]
		f.Problem = f.Problem[strings.Index(f.Problem, ": ")+2:]
		f.Column = d.characters(f.Line, f.Column)
	}
	f.Problem = clip(f.Problem)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		f.Problem = "the file ends in the middle of a value or comment"
		if line, column := d.position(len(d.src)); f.Line > line { // the line break that was added
			f.Line, f.Column = line, column
		}
	}
	return f
}

// characters turns a column in bytes into one in characters.
func (d *document) characters(line, column int) int {
	text := d.src
	for range line - 1 {
		_, text, _ = bytes.Cut(text, []byte("\n"))
	}
	return 1 + utf8.RuneCount(text[:min(column-1, len(text))])
}

// position returns line and column, in characters, of an offset.
func (d *document) position(offset int) (line, column int) {
	before := d.src[:offset]
	start := bytes.LastIndexByte(before, '\n') + 1
	return 1 + bytes.Count(before, []byte("\n")), 1 + utf8.RuneCount(before[start:])
}

func invalidUTF8(b []byte) int {
	if utf8.Valid(b) {
		return -1
	}
	for i := 0; ; {
		r, size := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && size <= 1 {
			return i
		}
		i += size
	}
}

// readFile checks the text of the file and hands its values to set.
func (l *loader) readFile(data []byte, set func(name, value string) error) {
	d, fault := parseDocument(data)
	if fault != nil {
		fault.File = l.file
		l.faults = append(l.faults, *fault)
		return
	}
	if d.root != nil {
		l.readObject(d, "", d.root, set)
	}
}

// readObject reads the members of a section; prefix is "" or ends in a dot.
func (l *loader) readObject(d *document, prefix string, obj *hujson.Object, set func(name, value string) error) {
	first := map[string]int{} // name to line
	for _, m := range obj.Members {
		name := memberName(m)
		path := prefix + name
		at := place{source: FromFile, name: l.file}
		at.line, at.column = d.position(m.Name.StartOffset)
		if line, again := first[name]; again {
			l.fault(at, path, fmt.Sprintf("given twice, first in line %d", line), "once")
			continue
		}
		first[name] = at.line

		key, isKey := Lookup(path)
		switch {
		case path == "$schema": // for editors; ours to accept, not to read
			if m.Value.Value.Kind() != '"' {
				l.fault(at, path, "is "+kindName(m.Value.Value), "the address of a schema")
			}
		case strings.Contains(name, "."):
			l.fault(at, path, "a name with a dot", `sections as objects, {"daemon": {"maxProcesses": 2}}`)
		case isKey:
			at.line, at.column = d.position(m.Value.StartOffset)
			l.readValue(at, key, m.Value.Value, set)
		case slices.Contains(ancestralKeys(), path):
			l.loaded.Ignored = append(l.loaded.Ignored, Ignored{
				File: l.file, Line: at.line, Column: at.column, Key: path, Reason: "has no effect here",
			})
		case len(childrenOf(path)) > 0:
			l.readSection(d, path, m.Value, set)
		default:
			problem := "unknown key"
			if near := suggest(path, true); near != "" {
				problem += fmt.Sprintf(", did you mean %q?", near)
			}
			l.fault(at, path, problem, strings.Join(childrenOf(strings.TrimSuffix(prefix, ".")), ", "))
		}
	}
}

func (l *loader) readSection(d *document, path string, v hujson.Value, set func(name, value string) error) {
	if obj, ok := v.Value.(*hujson.Object); ok {
		l.readObject(d, path+".", obj, set)
		return
	}
	at := place{source: FromFile, name: l.file}
	at.line, at.column = d.position(v.StartOffset)
	l.fault(at, path, "is "+kindName(v.Value), "an object with "+strings.Join(childrenOf(path), ", "))
}

func (l *loader) readValue(at place, k Key, j hujson.ValueTrimmed, set func(name, value string) error) {
	if k.Name == "daemon.schedulingStrategy" && j.Kind() == '"' {
		name := j.(hujson.Literal).String()
		if ours, theirs := ancestralStrategies()[name]; theirs && ours == "" {
			l.loaded.Ignored = append(l.loaded.Ignored, Ignored{
				File: l.file, Line: at.line, Column: at.column, Key: k.Name, Reason: fmt.Sprintf("%q has no effect here, the default applies", name),
			})
			return
		} else if theirs {
			j = hujson.String(ours)
		}
	}
	v, problem := k.parseJSON(j)
	if problem != "" {
		l.fault(at, k.Name, problem, k.Allowed)
		return
	}
	l.current = at
	_ = set(k.Name, k.format(v)) // never fails, see setting
}

func memberName(m hujson.ObjectMember) string { return m.Name.Value.(hujson.Literal).String() }

// ancestralKeys are those that the ancestor knew and we do not. The first ones
// are whole sections.
func ancestralKeys() []string {
	return []string{
		"version", "resources", "registry", "telemetry", "updates",
		"daemon.socketPath", "defaults.timeout", "defaults.language", "defaults.checkInterval", "logging.directory",
	}
}

// ancestralStrategies are the names of strategies that only the ancestor knew,
// with what they are here; "": nothing, since runs have no deadlines.
func ancestralStrategies() map[string]string {
	return map[string]string{"weighted-round-robin": "weighted", "deadline-aware": ""}
}
