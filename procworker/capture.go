package procworker

import (
	"io"
	"os"
	"sync/atomic"
	"time"
)

// A Capture copies what comes out of a pipe to a writer, as a [Worker] does
// with its child's output, for programs that start their children themselves.
// Whoever writes into the pipe waits for a writer that is slow, and never
// longer than 2 s for one that hangs: see [Worker.Stdout]. Make one with
// [NewCapture].
type Capture struct {
	out  *output
	lost losses
}

// NewCapture begins to copy from src, the reading end of a pipe that has
// deadlines, as [os.Pipe] makes it. The Capture owns it from then on.
func NewCapture(src *os.File, dst io.Writer) *Capture {
	c := &Capture{lost: losses{news: make(chan struct{}, 1)}}
	c.out = newOutput(src, dst, &c.lost)
	c.out.start()
	return c
}

// Done is closed when the pipe has ended and the last Write has returned.
func (c *Capture) Done() <-chan struct{} { return c.out.done }

// Losing has a token when more has been dropped.
func (c *Capture) Losing() <-chan struct{} { return c.lost.news }

// Dropped returns what the writer has not taken. A line of which only a part
// was taken counts.
func (c *Capture) Dropped() (lines, bytes uint64) {
	return c.lost.lines.Load(), c.lost.bytes.Load()
}

// Finish ends the Capture, which reads what is in the pipe and does not wait
// for more. It returns when the writer has taken that, or when it has not
// within the patience; then the rest is dropped, except for what is in a Write
// that has begun. Call it once.
func (c *Capture) Finish(patience time.Duration) { c.out.finish(patience) }

// losses counts what was dropped.
type losses struct {
	lines, bytes atomic.Uint64
	news         chan struct{} // nil: nobody wants to know
}

func (l *losses) add(lines, bytes int) {
	if lines == 0 && bytes == 0 {
		return
	}
	l.lines.Add(uint64(lines))
	l.bytes.Add(uint64(bytes))
	wake(l.news)
}
