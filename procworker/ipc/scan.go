package ipc

import (
	"encoding/json"
	"strings"
	"unicode/utf8"
)

// maxDepth is how deep encoding/json lets values be nested.
const maxDepth = 10_000

// A found is what a line turns out to be.
type found struct {
	kind     string // of its "type"; empty: there is none
	internal bool   // its "cmd" is one of Node's own
}

// scan checks that line is one JSON text, as [json.Valid] does, and finds the
// type on its way: the first "type" of the object whose value is a string and
// not empty. Unlike json.Unmarshal into a struct it tells "type" from "Type",
// and it keeps nothing of the values.
func scan(line []byte) (f found, valid bool) {
	s := scanner{text: line}
	s.space()
	if s.peek() == '{' {
		valid = s.object(&f)
	} else {
		valid = s.value()
	}
	s.space()
	return f, valid && s.at == len(line)
}

// A scanner walks over a JSON text. Its methods are called at the beginning of
// what they are named after, and report whether it was one.
type scanner struct {
	text  []byte
	at    int
	depth int
}

// peek returns the next byte, 0 at the end.
func (s *scanner) peek() byte {
	if s.at < len(s.text) {
		return s.text[s.at]
	}
	return 0
}

// next takes the next byte if it is c.
func (s *scanner) next(c byte) bool {
	if s.at < len(s.text) && s.text[s.at] == c {
		s.at++
		return true
	}
	return false
}

func (s *scanner) space() {
	for s.at < len(s.text) {
		switch s.text[s.at] {
		case ' ', '\t', '\r', '\n':
			s.at++
		default:
			return
		}
	}
}

func (s *scanner) value() bool {
	switch c := s.peek(); c {
	case '"':
		return s.str()
	case '{':
		return s.object(nil)
	case '[':
		return s.array()
	case 't':
		return s.word("true")
	case 'f':
		return s.word("false")
	case 'n':
		return s.word("null")
	default:
		return s.number()
	}
}

// object notes in f, unless it is nil, what its keys say.
func (s *scanner) object(f *found) bool {
	if s.depth++; s.depth > maxDepth {
		return false
	}
	s.at++
	s.space()
	if s.next('}') {
		s.depth--
		return true
	}
	for {
		begin := s.at
		if !s.next('"') || !s.strRest() {
			return false
		}
		key := s.text[begin:s.at]
		s.space()
		if !s.next(':') {
			return false
		}
		s.space()
		begin = s.at
		if !s.value() {
			return false
		}
		if f != nil && f.kind == "" {
			f.note(key, s.text[begin:s.at])
		}
		s.space()
		if s.next('}') {
			s.depth--
			return true
		}
		if !s.next(',') {
			return false
		}
		s.space()
	}
}

func (s *scanner) array() bool {
	if s.depth++; s.depth > maxDepth {
		return false
	}
	s.at++
	s.space()
	if s.next(']') {
		s.depth--
		return true
	}
	for {
		if !s.value() {
			return false
		}
		s.space()
		if s.next(']') {
			s.depth--
			return true
		}
		if !s.next(',') {
			return false
		}
		s.space()
	}
}

func (s *scanner) str() bool {
	s.at++
	return s.strRest()
}

// strRest takes a string behind its opening quote.
func (s *scanner) strRest() bool {
	for s.at < len(s.text) {
		c := s.text[s.at]
		s.at++
		switch {
		case c == '"':
			return true
		case c < ' ':
			return false
		case c == '\\' && !s.escape():
			return false
		}
	}
	return false
}

// escape takes what follows a backslash.
func (s *scanner) escape() bool {
	c := s.peek()
	s.at++
	switch c {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return true
	case 'u':
		for range 4 {
			c := s.peek()
			if (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
				return false
			}
			s.at++
		}
		return true
	}
	return false
}

func (s *scanner) word(w string) bool {
	if len(s.text)-s.at < len(w) || string(s.text[s.at:s.at+len(w)]) != w {
		return false
	}
	s.at += len(w)
	return true
}

func (s *scanner) number() bool {
	s.next('-')
	if !s.next('0') && !s.digits() {
		return false
	}
	if s.next('.') && !s.digits() {
		return false
	}
	if s.next('e') || s.next('E') {
		if !s.next('+') {
			s.next('-')
		}
		return s.digits()
	}
	return true
}

// digits takes one digit or more.
func (s *scanner) digits() bool {
	begin := s.at
	for s.at < len(s.text) && s.text[s.at] >= '0' && s.text[s.at] <= '9' {
		s.at++
	}
	return s.at > begin
}

// note looks at one key and its value.
func (f *found) note(key, value []byte) {
	if value[0] != '"' {
		return
	}
	switch text(key) {
	case "type":
		f.kind = text(value)
	case "cmd":
		f.internal = f.internal || strings.HasPrefix(text(value), "NODE_")
	}
}

// text returns what a valid JSON string says. Those that this package knows
// take no memory.
func text(quoted []byte) string {
	inside := quoted[1 : len(quoted)-1]
	for _, c := range inside {
		if c == '\\' || c >= utf8.RuneSelf {
			var s string
			_ = json.Unmarshal(quoted, &s) // it was checked before
			return s
		}
	}
	if string(inside) == "type" {
		return "type"
	}
	if kind := knownType(inside); kind != "" {
		return kind
	}
	return string(inside)
}

// knownType returns kind if this version of the protocol has it, and otherwise
// an empty string.
func knownType[S string | []byte](kind S) string {
	switch string(kind) {
	case "ready":
		return "ready"
	case "error":
		return "error"
	case "metrics":
		return "metrics"
	case "started":
		return "started"
	case "finished":
		return "finished"
	case "heartbeat":
		return "heartbeat"
	case "run":
		return "run"
	case "cancel":
		return "cancel"
	case "reload":
		return "reload"
	case "shutdown":
		return "shutdown"
	}
	return ""
}
