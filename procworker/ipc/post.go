package ipc

import (
	"bytes"
	"context"
)

// Post sends b without waiting: for figures, of which only the latest count.
// While the other side does not read, the latest message of each type waits
// for its turn, and replaces the one before it ([Stats.Replaced]); different
// types keep the order in which they came first. What cannot be sent any more,
// because the channel ends, is dropped without an error. Messages of Post and
// of Send are in no order to each other.
//
// The error tells why b is no message, as that of Send does.
func (c *Conn) Post(b Body) error {
	e := encoders.Get().(*encoder)
	defer e.release()
	line, err := e.encode(b, c.max)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	waiting := posted{kind: b.MessageType(), line: bytes.Clone(line)}
	for i := range c.posts {
		if c.posts[i].kind == waiting.kind {
			c.posts[i] = waiting
			c.replaced.Add(1)
			return nil
		}
	}
	c.posts = append(c.posts, waiting)
	if !c.posting {
		c.posting = true
		c.poster.Go(c.deliver)
	}
	return nil
}

// A posted is a message that waits for its turn.
type posted struct {
	kind string
	line []byte
}

// deliver sends what was posted until nothing is left.
func (c *Conn) deliver() {
	for {
		// A message may be replaced for as long as it has no turn.
		c.turn <- struct{}{}
		line := c.nextPost()
		if line == nil {
			<-c.turn
			return
		}
		if c.writeNow(context.Background(), line) == nil {
			c.sent.Add(1)
		}
		<-c.turn
	}
}

// nextPost takes the message that waits longest; nil if there is none.
func (c *Conn) nextPost() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.posts) == 0 || c.closed {
		c.posts, c.posting = nil, false
		return nil
	}
	line := c.posts[0].line
	c.posts = append(c.posts[:0], c.posts[1:]...)
	return line
}

// Close closes this end. The other side receives what was sent, and then
// [io.EOF]; what was posted and still waits is dropped. Close returns when no
// posted message is being written any more.
func (c *Conn) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	err := c.rwc.Close()
	c.poster.Wait()
	return err
}
