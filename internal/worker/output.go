package worker

import (
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/poppobuilder/poppobuilder/internal/logs"
	"github.com/poppobuilder/poppobuilder/procworker"
)

// An output is the pipe between a command and its log. Both streams go into
// the one pipe, which keeps their order.
type output struct {
	stdin   *os.File // /dev/null
	w       *os.File
	capture *procworker.Capture
	sink    *watched
	told    int64 // lost lines that the master was told of

	flushed chan struct{} // closed when all is in the log
	ended   chan struct{} // closed when nothing more is waited for
	hung    bool          // the log has not taken all of it; valid when it has ended
}

func newOutput(sink io.Writer) (*output, error) {
	stdin, r, w, err := commandFiles()
	if err != nil {
		return nil, err
	}
	o := &output{
		stdin: stdin, w: w,
		sink:    &watched{Writer: sink, losing: make(chan struct{}, 1)},
		flushed: make(chan struct{}),
		ended:   make(chan struct{}),
	}
	lines := logs.NewLines(o.sink, 0)
	o.capture = procworker.NewCapture(r, lines)
	go o.flush(lines)
	return o, nil
}

// files returns the command's descriptors 0, 1 and 2.
func (o *output) files() []uintptr {
	return []uintptr{o.stdin.Fd(), o.w.Fd(), o.w.Fd()}
}

// say puts a message of the worker before the command's first one. A pipe has
// room for it, while the log may hang.
func (o *output) say(message any) { fmt.Fprintf(o.w, "poppobuilder: %v\n", message) }

// started closes what is the command's only.
func (o *output) started() {
	o.stdin.Close()
	o.w.Close()
}

// flush ends a last line that has no end.
func (o *output) flush(lines *logs.Lines) {
	defer close(o.flushed)
	<-o.capture.Done()
	_ = lines.Close() // a log never fails
}

// finish reads what is left, and gives the log so much time to take it.
func (o *output) finish(patience time.Duration) {
	defer close(o.ended)
	timer := time.NewTimer(patience)
	defer timer.Stop()
	o.capture.Finish(patience)
	select {
	case <-o.flushed:
	case <-timer.C:
		o.hung = true
	}
}

// lost returns how many lines are lost so far.
func (o *output) lost() int64 {
	lines, _ := o.capture.Dropped()
	return int64(lines) + o.sink.lost.Load()
}

// news reports whether the master should hear of lost lines: of the first one,
// and whenever their number has doubled since.
func (o *output) news() (lost int64, ok bool) {
	lost = o.lost()
	if lost <= 2*o.told {
		return 0, false
	}
	o.told = lost
	return lost, true
}

// watched notes how many lines its log has lost. Asking the log would wait for
// a Write that hangs.
type watched struct {
	io.Writer
	lost   atomic.Int64
	losing chan struct{} // has a token when there are more
}

func (w *watched) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	if log, ok := w.Writer.(*logs.Writer); ok {
		if lost := log.Stats().DroppedLines; lost > w.lost.Swap(lost) {
			select {
			case w.losing <- struct{}{}:
			default:
			}
		}
	}
	return n, err
}
