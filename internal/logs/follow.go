package logs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// FollowOptions says what [Follow] copies. The zero value copies nothing.
type FollowOptions struct {
	Lines  int  // the last so many lines first, across rotated files; negative: all there are
	Follow bool // then go on with what is written, until ctx is done
}

// Follow copies a log to dst: the last lines that are there and, if asked to,
// each line that is written from then on. It goes on across rotations and
// loses or repeats no line, unless a file is removed before its turn comes.
// Each Write to dst ends with a whole line, or fills a buffer of 64 KiB.
//
// A log that does not exist is waited for, or without o.Follow is an
// [fs.ErrNotExist]. Following ends with nil when ctx is done, and with dst's
// error when dst fails. It polls nothing: it sleeps until something happens
// in the log's directory.
func Follow(ctx context.Context, dst io.Writer, path string, o FollowOptions) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("follow log: %w", err)
	}
	f := &follower{dst: untilDone{ctx, dst}, path: path, buf: make([]byte, 64<<10)}
	defer f.closeFile()
	if !o.Follow {
		return f.print(o.Lines)
	}
	// Watching begins before reading: what is written in between is seen by
	// the one or the other.
	watch, err := watchFile(path)
	if err != nil {
		return fmt.Errorf("follow log: %w", err)
	}
	defer watch.Close()
	err = f.begin(o.Lines)
	for err == nil {
		if err = f.advance(); err == nil {
			err = watch.wait(ctx)
		}
	}
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

// A follower reads a log's files in their order.
type follower struct {
	dst  io.Writer
	path string
	buf  []byte

	file   *os.File // the current file, or the one that was; nil: none yet
	offset int64    // how far it has been read
	ended  bool     // it was rotated, and read to its end
	seen   int      // the number of the newest rotated file that is older
}

// print copies the last lines that are there.
func (f *follower) print(lines int) error {
	if err := f.begin(lines); err != nil {
		return err
	}
	if f.file == nil && f.seen == 0 {
		return fmt.Errorf("read log: %w", &fs.PathError{Op: "open", Path: f.path, Err: fs.ErrNotExist})
	}
	if f.file == nil {
		return nil
	}
	return f.read(true)
}

// advance reads on until there is nothing new.
func (f *follower) advance() error {
	for {
		if f.file != nil && !f.ended {
			if err := f.read(false); err != nil {
				return err
			}
			if f.isCurrent(f.file) {
				return nil
			}
			// Its successor is there, or about to be: nothing is
			// appended any more.
			if err := f.read(true); err != nil {
				return err
			}
			f.ended = true
		}
		next, err := f.openNext()
		if err != nil || next == nil {
			return err
		}
		f.closeFile()
		f.file, f.offset, f.ended = next, 0, false
	}
}

// read copies what is new in the current file: the whole lines of it, and at
// the end also what has no newline. So a line that the writer takes back,
// because it did not fit on the disk, has never been seen.
func (f *follower) read(end bool) error {
	if info, err := f.file.Stat(); err == nil && info.Size() < f.offset {
		f.offset = 0 // somebody truncated it
	}
	for {
		n, err := f.file.ReadAt(f.buf, f.offset)
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read log: %w", err)
		}
		part := f.buf[:n]
		if !end || n == len(f.buf) {
			part = wholeLines(part, n == len(f.buf))
		}
		if len(part) == 0 {
			return nil
		}
		if _, err := f.dst.Write(part); err != nil {
			return err
		}
		f.offset += int64(len(part))
	}
}

// readRotated copies the rotated files that are newer than what was seen,
// except for the one that has been read while it was the current one.
func (f *follower) readRotated() error {
	all, err := listRotated(f.path)
	if err != nil {
		return err
	}
	newest := newestNumber(all)
	if newest < f.seen && !isRotated(f.path, f.seen) {
		f.seen = 0 // all were too old, and the numbers began anew
	}
	for number := f.seen + 1; ; number++ {
		file, err := openRotated(f.path, number)
		if err != nil {
			return err
		}
		if file == nil && number > newest {
			return nil
		}
		if file != nil {
			err = f.readOne(file)
		}
		if err != nil {
			return err
		}
		f.seen = number
	}
}

func (f *follower) readOne(file *rotatedFile) error {
	defer file.Close()
	if f.ended && file.is(f.file) {
		return nil
	}
	return f.copyAll(file)
}

// copyAll copies a rotated file.
func (f *follower) copyAll(from io.Reader) error {
	for {
		n, err := io.ReadFull(from, f.buf)
		if n > 0 {
			if _, err := f.dst.Write(f.buf[:n]); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		case err != nil:
			return fmt.Errorf("read rotated log: %w", err)
		}
	}
}

// openNext opens the current file once every rotated file has been seen. It
// returns nil if there is none yet.
func (f *follower) openNext() (*os.File, error) {
	for {
		if err := f.readRotated(); err != nil {
			return nil, err
		}
		file, err := os.Open(f.path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("open log: %w", err)
		}
		// It is the one after those that have been seen, unless there
		// was a rotation before it was opened.
		if f.isCurrent(file) && !isRotated(f.path, f.seen+1) {
			return file, nil
		}
		file.Close()
	}
}

// isCurrent reports whether the log's path names this file, or nothing if
// file is nil.
func (f *follower) isCurrent(file *os.File) bool {
	info, err := os.Stat(f.path)
	if err != nil || file == nil {
		return file == nil && errors.Is(err, fs.ErrNotExist)
	}
	own, err := file.Stat()
	return err == nil && os.SameFile(info, own)
}

func (f *follower) closeFile() {
	if f.file != nil {
		f.file.Close()
		f.file = nil
	}
}

// untilDone is a writer that fails once ctx is done.
type untilDone struct {
	ctx context.Context
	io.Writer
}

func (u untilDone) Write(p []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.Writer.Write(p)
}
