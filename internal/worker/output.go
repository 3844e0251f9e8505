package worker

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/poppobuilder/poppobuilder/internal/logs"
)

// An output is the pipe between a command and its log. Both streams go into
// the one pipe, which keeps their order.
type output struct {
	stdin   *os.File // /dev/null
	r, w    *os.File
	drained chan struct{} // closed when all is in the log
	losing  chan int64    // holds how many lines the log has lost, if that is news
}

func newOutput(sink io.Writer) (*output, error) {
	stdin, err := os.Open(os.DevNull)
	if err != nil {
		return nil, fmt.Errorf("open the command's input: %w", err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		stdin.Close()
		return nil, fmt.Errorf("make the command's output pipe: %w", err)
	}
	o := &output{stdin: stdin, r: r, w: w, drained: make(chan struct{}), losing: make(chan int64, 1)}
	go o.pump(sink)
	return o, nil
}

// files returns the command's descriptors 0, 1 and 2.
func (o *output) files() []uintptr {
	return []uintptr{o.stdin.Fd(), o.w.Fd(), o.w.Fd()}
}

// started closes what is the command's only.
func (o *output) started() {
	o.stdin.Close()
	o.w.Close()
}

// pump copies until the last writer is gone.
func (o *output) pump(sink io.Writer) {
	defer close(o.drained)
	defer o.r.Close()
	lines := logs.NewLines(&watched{Writer: sink, losing: o.losing}, 0)
	_, _ = io.Copy(lines, o.r) // ends with the pipe; a log never fails
	_ = lines.Close()
}

// watched tells when its log loses lines: of the first one, and whenever their
// number has doubled since.
type watched struct {
	io.Writer
	losing chan int64
	told   int64
}

func (w *watched) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	if log, ok := w.Writer.(*logs.Writer); ok {
		if lost := log.Stats().DroppedLines; lost > 2*w.told {
			w.told = lost
			select { // of two, the newer one counts
			case <-w.losing:
			default:
			}
			w.losing <- lost
		}
	}
	return n, err
}

// finishWithin bounds the pump from now on.
func (o *output) finishWithin(d time.Duration) {
	_ = o.r.SetReadDeadline(time.Now().Add(d))
}
