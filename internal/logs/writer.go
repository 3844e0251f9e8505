package logs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// A Writer appends whole lines to a file and rotates it. Make one with [Open]
// or [New]. Its methods may be called from any goroutine.
//
// One Writer at a time rotates a log. It notices at the next write when its
// file was deleted, moved or truncated, or its directory was deleted, and
// begins a new one.
type Writer struct {
	path string

	mu     sync.Mutex // guards what follows
	limits Limits
	stats  Stats
	file   *os.File    // nil: not open
	info   fs.FileInfo // of file when it was opened, for its identity
	begun  time.Time   // when file began, for Limits.RotateEvery
	number int         // of the newest rotated file that this Writer knows of
	known  bool        // it is the newest of all
	place  fs.FileInfo // of the current file then, or when it was opened; nil: unknown
	tidied bool        // what an earlier process left was looked at
	closed bool

	compressing bool          // the goroutine of compress.go exists
	stop        chan struct{} // closed by Close, ends that goroutine early
	done        sync.WaitGroup

	now func() time.Time // time.Now, but in tests
}

// New returns a Writer for path that opens its file at the first write.
func New(path string, l Limits) *Writer {
	return &Writer{path: path, limits: l, stop: make(chan struct{}), now: time.Now}
}

// Open returns a Writer for path after it has opened the file for appending.
// Directories that are missing are made with mode 0700, the file with 0600.
func Open(path string, l Limits) (*Writer, error) {
	w := New(path, l)
	if err := w.Reopen(); err != nil {
		return nil, err
	}
	return w, nil
}

// Write appends p, which holds whole lines, each with its newline. It reports
// success also when the disk did not take them: see the package's Trouble.
// Only after Close is there an error, [fs.ErrClosed].
func (w *Writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return 0, fmt.Errorf("write log %s: %w", w.path, fs.ErrClosed)
	}
	for rest := p; len(rest) > 0; {
		part, err := w.write(rest)
		rest = rest[len(part):]
		if err != nil {
			w.drop(rest, err)
			break
		}
	}
	return len(p), nil
}

// Stats returns the counts so far.
func (w *Writer) Stats() Stats {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stats
}

// SetLimits changes the limits. Rotated files that are too many or too old
// are removed at once, a current file that is too long is rotated at the next
// write.
func (w *Writer) SetLimits(l Limits) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || w.limits == l {
		return
	}
	w.limits = l
	w.tidy()
}

// Reopen closes the file and opens the path again.
func (w *Writer) Reopen() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return fmt.Errorf("reopen log %s: %w", w.path, fs.ErrClosed)
	}
	return w.open()
}

// Close closes the file and ends a compression that is under way; the next
// Writer of the path takes it up again. A second Close does nothing.
func (w *Writer) Close() error {
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return nil
	}
	w.closed = true
	close(w.stop)
	err := w.closeFile()
	w.mu.Unlock()

	w.done.Wait()
	return err
}

// write appends as many whole lines of p as the current file may take, maybe
// after a rotation, and returns those that were written.
func (w *Writer) write(p []byte) (written []byte, err error) {
	size, err := w.current()
	if err != nil {
		return nil, err
	}
	if size == 0 {
		w.begun = w.now()
	}
	part := fitting(p, size, w.limits.MaxSize)
	if part == nil || w.outlived() {
		err := w.rotate()
		if err == nil || part == nil {
			return nil, err
		}
		w.stats.LastError = err // it is old, but takes lines
	}
	n, err := w.file.Write(part)
	if err != nil {
		// Half a line must not stay, or the next one would be glued to it.
		whole := bytes.LastIndexByte(part[:n], '\n') + 1
		if whole < n {
			err = errors.Join(err, w.file.Truncate(size+int64(whole)))
		}
		n = whole
	}
	w.stats.Bytes += int64(n)
	return part[:n], err
}

// fitting returns the lines of p that fit in a file of the given size, nil if
// it has to be rotated first. A line that no file can hold gets one to itself.
func fitting(p []byte, size, maxSize int64) []byte {
	room := maxSize - size
	if maxSize <= 0 || int64(len(p)) <= room {
		return p
	}
	if room > 0 {
		if i := bytes.LastIndexByte(p[:room], '\n'); i >= 0 {
			return p[:i+1]
		}
	}
	if size > 0 {
		return nil
	}
	if i := bytes.IndexByte(p, '\n'); i >= 0 {
		return p[:i+1]
	}
	return p
}

// current makes sure that file is what the path names, and returns its size.
func (w *Writer) current() (size int64, err error) {
	if w.file != nil {
		info, err := os.Stat(w.path)
		if err == nil && os.SameFile(info, w.info) {
			return info.Size(), nil
		}
	}
	if err := w.open(); err != nil {
		return 0, err
	}
	return w.info.Size(), nil
}

func (w *Writer) open() error {
	_ = w.closeFile()
	file, err := openAppend(w.path)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	info, err := file.Stat()
	if err != nil {
		_ = file.Close()
		return fmt.Errorf("open log: %w", err)
	}
	if w.info == nil || !os.SameFile(info, w.info) {
		w.begun = w.now()
		if born, ok := birth(file, info); ok {
			w.begun = born
		}
	}
	w.file, w.info, w.place = file, info, info
	if !w.tidied {
		w.tidied = true
		w.tidy()
	}
	return nil
}

func openAppend(path string) (*os.File, error) {
	const flags = os.O_APPEND | os.O_CREATE | os.O_WRONLY
	file, err := os.OpenFile(path, flags, 0o600)
	if !errors.Is(err, fs.ErrNotExist) {
		return file, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	return os.OpenFile(path, flags, 0o600)
}

func (w *Writer) closeFile() error {
	if w.file == nil {
		return nil
	}
	err := w.file.Close()
	w.file = nil
	return err
}

// drop counts lines that could not be written.
func (w *Writer) drop(p []byte, err error) {
	w.stats.DroppedBytes += int64(len(p))
	w.stats.DroppedLines += int64(bytes.Count(p, []byte("\n")))
	if len(p) > 0 && p[len(p)-1] != '\n' {
		w.stats.DroppedLines++
	}
	w.stats.LastError = err
}
