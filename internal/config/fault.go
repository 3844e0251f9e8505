package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Fault is one mistake in the settings.
type Fault struct {
	// File, Line and Column (in characters) say where, counted from 1. Line is
	// 0 if the whole file is meant.
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
	// From names the variable or the flag of a value that is in no file.
	From    string `json:"from,omitempty"`
	Key     string `json:"key,omitempty"` // empty if the file is not even JSON
	Problem string `json:"problem"`
	Allowed string `json:"allowed,omitempty"`
}

// String is one line: where, the key, what is wrong and what is allowed.
func (f Fault) String() string {
	var b strings.Builder
	if at := cmp.Or(f.From, location(f.File, f.Line, f.Column)); at != "" {
		b.WriteString(at + ": ")
	}
	if f.Key != "" {
		b.WriteString(f.Key + ": ")
	}
	b.WriteString(f.Problem)
	if f.Allowed != "" {
		b.WriteString(" (allowed: " + f.Allowed + ")")
	}
	return b.String()
}

// Faults is the error for settings that are wrong: all mistakes at once, those
// of the file first, by line. It is never empty.
type Faults []Fault

// Error is one line for one fault, else a headline and a line for each.
func (f Faults) Error() string {
	if len(f) == 1 {
		return f[0].String()
	}
	lines := []string{fmt.Sprintf("%d faults in the settings:", len(f))}
	for _, fault := range f {
		lines = append(lines, "  "+fault.String())
	}
	return strings.Join(lines, "\n")
}

// sort orders the faults as Faults promises.
func (f Faults) sort() {
	slices.SortStableFunc(f, func(a, b Fault) int {
		inFile := func(f Fault) int {
			if f.From != "" {
				return 1
			}
			return 0
		}
		return cmp.Or(inFile(a)-inFile(b), a.Line-b.Line, a.Column-b.Column)
	})
}

// Ignored is something that looks like a setting and has no effect: a key of
// the ancestor, or a variable that no key has.
type Ignored struct {
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
	Key    string `json:"key"` // or the name of the variable
	Reason string `json:"reason"`
}

// String is one line.
func (i Ignored) String() string {
	if at := location(i.File, i.Line, i.Column); at != "" {
		return at + ": " + i.Key + ": " + i.Reason
	}
	return i.Key + ": " + i.Reason
}

// location is the form that editors and terminals make clickable.
func location(file string, line, column int) string {
	if line == 0 {
		return file
	}
	return fmt.Sprintf("%s:%d:%d", file, line, column)
}

// UnknownKeyError is the error for the name of a key that does not exist.
type UnknownKeyError struct {
	Key        string
	Suggestion string // the nearest key, or empty
}

func (e *UnknownKeyError) Error() string {
	if e.Suggestion != "" {
		return fmt.Sprintf("unknown key %q, did you mean %q?", e.Key, e.Suggestion)
	}
	return fmt.Sprintf("unknown key %q; list shows all keys", e.Key)
}

// mustKey finds the key or returns an [*UnknownKeyError].
func mustKey(name string) (Key, error) {
	if k, ok := Lookup(name); ok {
		return k, nil
	}
	return Key{}, &UnknownKeyError{Key: name, Suggestion: suggest(name, false)}
}

// suggest returns the key that path was probably meant to be, or "".
func suggest(path string, sections bool) string {
	var names []string
	for _, k := range table() {
		names = append(names, k.Name)
		if sections {
			names = append(names, k.Name[:strings.LastIndexByte(k.Name, '.')])
		}
	}
	if near := nearest(path, names); near != "" {
		return near
	}
	// The right name in the wrong section.
	last := func(s string) string { return s[strings.LastIndexByte(s, '.')+1:] }
	var ends []string
	for _, n := range names {
		ends = append(ends, last(n))
	}
	if near := nearest(last(path), ends); near != "" {
		return names[slices.Index(ends, near)]
	}
	return ""
}

// nearest returns the name that is fewest edits away from s, case aside, if
// that is near enough for a typing mistake.
func nearest(s string, names []string) string {
	best, most := "", max(1, len(s)/4)
	if len(s) > 100 { // nobody's typing mistake, and the comparison is quadratic
		return ""
	}
	for _, n := range names {
		if d := distance(strings.ToLower(s), strings.ToLower(n)); d <= most {
			best, most = n, d-1
		}
	}
	return best
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
