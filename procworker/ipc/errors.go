package ipc

import (
	"errors"
	"fmt"
)

// ErrNoChannel is returned, wrapped with the reason, by [FromEnv] when this
// process was not given a channel.
var ErrNoChannel = errors.New("no worker channel; start this program from a supervisor that sets " + EnvFD)

// ErrTorn is returned, wrapped, by [Conn.Send] once an earlier message was
// cut in the middle. Nothing can be sent any more; receiving still works.
var ErrTorn = errors.New("an earlier message was cut in the middle; close the channel and start the worker again")

// A TooLongError says that a message was not sent because it would have been
// longer than the limit.
type TooLongError struct {
	Type   string // of the message
	Length int    // in bytes, newline included
	Max    int
}

func (e *TooLongError) Error() string {
	return fmt.Sprintf("message %q takes %d bytes; at most %d are allowed, send it in parts", e.Type, e.Length, e.Max)
}

// A MalformedError reports one received line that is not a message. It is not
// fatal: the next [Conn.Receive] goes on with the next line.
type MalformedError struct {
	Reason string // such as "not a JSON object"
	Line   []byte // the beginning of the line, at most 200 bytes
	Length int    // of the whole line in bytes, without its newline
}

func (e *MalformedError) Error() string {
	return fmt.Sprintf("malformed line of %d bytes: %s: %q", e.Length, e.Reason, e.Line)
}

// excerptLen bounds MalformedError.Line.
const excerptLen = 200

func malformed(reason string, line []byte, length int) *MalformedError {
	excerpt := line[:min(len(line), excerptLen)]
	return &MalformedError{Reason: reason, Line: append([]byte(nil), excerpt...), Length: length}
}
