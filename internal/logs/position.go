package logs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// A Position is a place in a log. It stays the place of the same line when the
// file is rotated and compressed: File is the number that the file has, or will
// have once it is rotated.
type Position struct {
	File   int   `json:"file"`   // from 1
	Offset int64 `json:"offset"` // in bytes, uncompressed
}

func (p Position) before(q Position) bool {
	return p.File < q.File || p.File == q.File && p.Offset < q.Offset
}

// ErrRemoved says that files between two positions are not there any more. What
// is left has been copied.
var ErrRemoved = errors.New("a part of the log has been removed")

// End returns the position of the next line of a log, which need not exist.
func End(path string) (Position, error) {
	f := &follower{path: path}
	defer f.closeFile()
	if _, err := f.openCurrent(); err != nil {
		return Position{}, err
	}
	end := Position{File: f.seen + 1}
	if f.file == nil {
		return end, nil
	}
	info, err := f.file.Stat()
	if err != nil {
		return Position{}, fmt.Errorf("read log: %w", err)
	}
	end.Offset = info.Size()
	return end, nil
}

// Position returns the position of the next line. If it does not fit into the
// file that is current, the line is the first one of the next file instead.
func (w *Writer) Position() (Position, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	info, err := os.Stat(w.path)
	if err == nil && !info.Mode().IsRegular() { // which has no places, and whose opening may wait
		return Position{}, fmt.Errorf("find the end of log %s: it is no regular file", w.path)
	}
	if (err == nil || errors.Is(err, fs.ErrNotExist)) && w.knows(info) {
		end := Position{File: w.number + 1}
		if info != nil {
			end.Offset = info.Size()
		}
		return end, nil
	}
	end, err := End(w.path)
	if err == nil {
		w.number, w.known, w.place = end.File-1, true, info
	}
	return end, err
}

// knows reports whether number is still that of the newest rotated file, and not
// only was once: another Writer may have rotated the log, and somebody may have
// removed what was rotated.
func (w *Writer) knows(info fs.FileInfo) bool {
	if !w.known || info != nil && w.place != nil && !os.SameFile(info, w.place) {
		return false
	}
	return (w.number == 0 || isRotated(w.path, w.number)) && !isRotated(w.path, w.number+1)
}

// Copy copies what a log has from a position up to another, or, if that is nil,
// up to its end. It returns the position that it has come to. What was removed
// is skipped, and then the error is [ErrRemoved].
func Copy(dst io.Writer, path string, from Position, to *Position) (Position, error) {
	c := newCopier(dst, path, from)
	err := c.copyTo(to)
	return c.at, c.result(err)
}

// A Stretch is the part of a log that one of several writers, of which each
// begins when the last one has ended, is about to write.
type Stretch struct {
	From Position
	// Ended gets the position at which the stretch ends, or nil if that is the
	// end of the log.
	Ended <-chan *Position
	// Alone reports whether everything that was in the log before the question
	// belongs to the stretch or is older. If it does not, Ended will tell soon.
	// Nil: it always does.
	Alone func() bool
}

// FollowStretch copies a stretch while it is written, until it ends. It returns
// the position that it has come to, and [ErrRemoved] or ctx's error. It polls
// nothing: it sleeps until something happens in the log's directory.
func FollowStretch(ctx context.Context, dst io.Writer, path string, s Stretch) (Position, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return s.From, fmt.Errorf("follow log: %w", err)
	}
	watch, err := watchFile(path)
	if err != nil {
		return s.From, fmt.Errorf("follow log: %w", err)
	}
	defer watch.Close()

	c := newCopier(untilDone{ctx, dst}, path, s.From)
	var to *Position
	writing, end := context.WithCancel(ctx)
	var below sync.WaitGroup
	below.Go(func() {
		defer end()
		select {
		case to = <-s.Ended:
		case <-writing.Done():
		}
	})
	for err == nil {
		if err = c.copyIf(s.Alone); err == nil {
			err = watch.wait(writing)
		}
	}
	ended := writing.Err() != nil && ctx.Err() == nil
	end()
	below.Wait()
	if ended && errors.Is(err, context.Canceled) {
		err = c.copyTo(to)
	}
	return c.at, c.result(err)
}

// A copier copies a log from one position on.
type copier struct {
	dst     io.Writer
	path    string
	at      Position
	removed bool // something of what was to be copied
	buf     []byte
}

func newCopier(dst io.Writer, path string, from Position) *copier {
	// Without dst's ReadFrom, each Write is one of ours.
	return &copier{dst: struct{ io.Writer }{dst}, path: path, at: from, buf: make([]byte, 64<<10)}
}

func (c *copier) result(err error) error {
	if err == nil && c.removed {
		return fmt.Errorf("%w: %s", ErrRemoved, c.path)
	}
	return err
}

// copyIf copies what is there, if that is all from one writer.
func (c *copier) copyIf(alone func() bool) error {
	end, err := End(c.path)
	if err != nil || alone != nil && !alone() {
		return err
	}
	return c.copyTo(&end)
}

// copyTo copies up to a position; nil is the end of the log.
func (c *copier) copyTo(to *Position) error {
	if to == nil {
		end, err := End(c.path)
		if err != nil {
			return err
		}
		to = &end
	}
	if to.before(c.at) {
		c.at = Position{File: to.File} // somebody has emptied the log
	}
	for c.at.before(*to) {
		file, next, err := c.open()
		if err != nil {
			return err
		}
		if file == nil {
			c.removed = true
			c.at = Position{File: next}
			if !c.at.before(*to) {
				c.at = *to
			}
			continue
		}
		err = c.copyFile(file, *to)
		file.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// open opens the file that comes next. If it was removed, open returns nil and
// the number of the oldest that is left and newer.
func (c *copier) open() (file *rotatedFile, next int, err error) {
	for {
		if file, err = openRotated(c.path, c.at.File); file != nil || err != nil {
			return file, 0, err
		}
		f := &follower{path: c.path}
		if _, err = f.openCurrent(); err != nil {
			return nil, 0, err
		}
		current := f.seen + 1
		if f.file != nil && current == c.at.File {
			return &rotatedFile{Reader: f.file, file: f.file}, 0, nil
		}
		f.closeFile()
		for next = c.at.File + 1; next < current && !isRotated(c.path, next); {
			next++
		}
		if current <= c.at.File || !isRotated(c.path, c.at.File) {
			return nil, next, nil
		}
	}
}

// copyFile copies the rest of a file, or what it has of that up to the end, and
// moves on.
func (c *copier) copyFile(file *rotatedFile, to Position) error {
	if err := file.skip(c.at.Offset); err != nil {
		return fmt.Errorf("read log: %w", err)
	}
	part := io.Reader(file)
	last := to.File == c.at.File
	if last {
		part = io.LimitReader(file, to.Offset-c.at.Offset)
	}
	n, err := io.CopyBuffer(c.dst, part, c.buf)
	c.at.Offset += n
	if err != nil {
		return err
	}
	if last {
		c.at = to
	} else {
		c.at = Position{File: c.at.File + 1}
	}
	return nil
}

// skip goes on to an offset, from the beginning.
func (r *rotatedFile) skip(n int64) error {
	if r.Reader == io.Reader(r.file) {
		_, err := r.file.Seek(n, io.SeekStart)
		return err
	}
	_, err := io.CopyN(io.Discard, r, n)
	if errors.Is(err, io.EOF) {
		return nil // it is shorter
	}
	return err
}
