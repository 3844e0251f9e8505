package ipc

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
)

// encoders keeps encoders for the next message.
var encoders = sync.Pool{New: func() any {
	e := new(encoder)
	e.json = json.NewEncoder(&e.buf)
	return e
}}

// An encoder makes lines of messages.
type encoder struct {
	buf  bytes.Buffer
	json *json.Encoder // writes to buf
}

// release gives the encoder back, and with it the line that it has made.
func (e *encoder) release() {
	if e.buf.Cap() <= idleBuffer {
		encoders.Put(e)
	}
}

// typePrefix begins every line that this package and Node's
// process.send({type: ...}) write.
const typePrefix = `{"type":"`

// encode returns the line of b, newline included, which is valid until the
// encoder is released.
func (e *encoder) encode(b Body, longest int) ([]byte, error) {
	kind := b.MessageType()
	if kind == "" || strings.ContainsFunc(kind, needsEscape) {
		return nil, fmt.Errorf("encode message: type %q: use printable ASCII without quotes and backslashes", kind)
	}
	e.buf.Reset()
	e.buf.WriteString(typePrefix)
	e.buf.WriteString(kind)
	e.buf.WriteByte('"')
	begin := e.buf.Len()
	if err := e.json.Encode(b); err != nil {
		return nil, fmt.Errorf("encode message %q: %w", kind, err)
	}
	// The object's opening brace becomes the comma behind the type.
	line := e.buf.Bytes()
	if line[begin] != '{' {
		return nil, fmt.Errorf("encode message %q: %T is not a JSON object; use a struct or a map", kind, b)
	}
	line[begin] = ','
	if line[begin+1] == '}' {
		line = append(line[:begin], "}\n"...)
	}
	if len(line) > longest {
		return nil, &TooLongError{Type: kind, Length: len(line), Max: longest}
	}
	return line, nil
}

func needsEscape(r rune) bool {
	return r < ' ' || r >= 0x7f || r == '"' || r == '\\' || r == '<' || r == '>' || r == '&'
}
