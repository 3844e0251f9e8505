package ipc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/poppobuilder/poppobuilder/procworker/internal/busypoll"
)

// Options tune a [Conn]. The zero value is the protocol.
type Options struct {
	// MaxMessage is the longest line in bytes, newline included, in either
	// direction. 0 means [MaxMessage]; more than that is cut down to it.
	MaxMessage int
}

// Stats counts what went through a [Conn].
type Stats struct {
	Sent      uint64 // messages sent whole
	Received  uint64 // messages delivered by Receive, unknown ones included
	Unknown   uint64 // of these, messages whose type this version does not know
	Malformed uint64 // lines reported as *MalformedError
	Internal  uint64 // Node's own NODE_ messages, skipped
	Replaced  uint64 // posted messages that a newer one has replaced
}

// A Conn is one end of a channel. Make one with [NewConn] or [FromEnv].
//
// Send may be called by any number of goroutines at once, also while another
// one receives; Receive by one goroutine at a time.
type Conn struct {
	rwc   io.ReadWriteCloser
	lines lineReader
	max   int

	// turn holds one token: its holder writes. A channel and not a mutex, so
	// that waiting for a turn ends with the sender's context.
	turn chan struct{}
	torn bool // guarded by turn

	sent, received, unknown, malformed, internal, replaced atomic.Uint64

	mu      sync.Mutex // guards what follows; it may be taken with the turn
	posts   []posted
	posting bool // the goroutine of poster exists
	closed  bool
	poster  sync.WaitGroup
}

// NewConn returns the channel end that reads and writes rwc, which it owns
// from then on. With an rwc that has deadlines, such as a net.Conn or a
// pollable *os.File, a Send is bounded by its context.
func NewConn(rwc io.ReadWriteCloser, o Options) *Conn {
	if f, ok := rwc.(*os.File); ok {
		rwc = busypoll.New(f)
	}
	limit := o.MaxMessage
	if limit <= 0 || limit > MaxMessage {
		limit = MaxMessage
	}
	c := &Conn{rwc: rwc, max: limit, turn: make(chan struct{}, 1)}
	c.lines = lineReader{r: rwc, max: limit}
	return c
}

// Send sends b as one line. It returns when the whole line is in the hands of
// the operating system, which does not mean that the other side has read it.
//
// While the other side does not read, Send blocks until ctx is done, and then
// returns ctx's cause. If that cut the message in the middle, the error is
// [ErrTorn] as well, and so is every later one. A message that is too long is
// a [*TooLongError], and nothing of it is sent.
func (c *Conn) Send(ctx context.Context, b Body) error {
	e := encoders.Get().(*encoder)
	defer e.release()
	line, err := e.encode(b, c.max)
	if err != nil {
		return err
	}
	if err := c.write(ctx, line); err != nil {
		return fmt.Errorf("send %q: %w", b.MessageType(), err)
	}
	c.sent.Add(1)
	return nil
}

func (c *Conn) write(ctx context.Context, line []byte) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	select {
	case c.turn <- struct{}{}:
	default:
		select {
		case c.turn <- struct{}{}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	defer func() { <-c.turn }()
	return c.writeNow(ctx, line)
}

// writeNow writes a line. It is the caller's turn.
func (c *Conn) writeNow(ctx context.Context, line []byte) error {
	if c.torn {
		return ErrTorn
	}
	release := c.bound(ctx)
	n, err := c.rwc.Write(line)
	release()
	if err == nil {
		return nil
	}
	if errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if n > 0 {
		c.torn = true
		return fmt.Errorf("%w: %w", err, ErrTorn)
	}
	return err
}

// bound makes a Write in progress fail once ctx is done, until release.
func (c *Conn) bound(ctx context.Context) (release func()) {
	d, ok := c.rwc.(interface{ SetWriteDeadline(time.Time) error })
	if !ok || ctx.Done() == nil {
		return func() {}
	}
	expired := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(expired)
		_ = d.SetWriteDeadline(time.Unix(1, 0))
	})
	return func() {
		if stop() {
			return
		}
		// The deadline must not fall on the next sender.
		<-expired
		_ = d.SetWriteDeadline(time.Time{})
	}
}

// Receive returns the next message. It blocks until there is one.
//
// [io.EOF] means that the other side is gone, and that everything it had sent
// whole has been returned before. A [*MalformedError] reports one line that
// is no message; call Receive again. Any other error is the end of the
// channel too.
func (c *Conn) Receive() (Message, error) {
	for {
		line, err := c.lines.next()
		if err != nil {
			return Message{}, c.failed(err)
		}
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		m, err := parse(line)
		switch {
		case err != nil:
			c.malformed.Add(1)
			return Message{}, err
		case m.Type == "":
			c.internal.Add(1)
			continue
		}
		c.received.Add(1)
		if !m.Known() {
			c.unknown.Add(1)
		}
		return m, nil
	}
}

// failed returns what Receive makes of an error of its reader.
func (c *Conn) failed(err error) error {
	if errors.Is(err, syscall.ECONNRESET) {
		return io.EOF // the other side died with messages of ours unread
	}
	if bad := (*MalformedError)(nil); errors.As(err, &bad) {
		c.malformed.Add(1)
	}
	return err
}

// Stats returns the counts so far.
func (c *Conn) Stats() Stats {
	return Stats{
		Sent:      c.sent.Load(),
		Received:  c.received.Load(),
		Unknown:   c.unknown.Load(),
		Malformed: c.malformed.Load(),
		Internal:  c.internal.Load(),
		Replaced:  c.replaced.Load(),
	}
}

// Decode stores the message's object in v, which is usually a pointer to one
// of this package's bodies. Keys that v does not have are ignored.
func (m Message) Decode(v any) error {
	if err := json.Unmarshal(m.Raw, v); err != nil {
		return fmt.Errorf("decode message %q: %w", m.Type, err)
	}
	return nil
}

// Known reports whether this version of the protocol has the message's type.
// A receiver ignores those that it does not know.
func (m Message) Known() bool { return knownType(m.Type) != "" }
