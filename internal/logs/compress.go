package logs

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// errStopped ends a compression that Close does not wait for.
var errStopped = errors.New("log was closed")

// compressRotated compresses rotated files until none is left. It takes the
// newest first: in a burst, the oldest are about to be removed anyway.
func (w *Writer) compressRotated() {
	defer w.done.Done()
	for {
		path, ok := w.nextToCompress()
		if !ok {
			return
		}
		err := w.compressAside(path)
		if err == nil {
			err = w.replace(path)
		}
		if err == nil {
			continue
		}
		_ = os.Remove(path + unfinishedSuffix)
		if !errors.Is(err, fs.ErrNotExist) { // not just removed, as one too many
			w.endCompression(err)
			return
		}
	}
}

// nextToCompress returns the newest plain file, or ends the compression.
func (w *Writer) nextToCompress() (path string, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	all, err := listRotated(w.path)
	for i := len(all) - 1; i >= 0 && err == nil && !w.closed; i-- {
		if all[i].plain {
			return rotatedPath(w.path, all[i].number), true
		}
	}
	w.compressing = false
	return "", false
}

// endCompression notes why the plain files that are left stay for now. The
// next rotation tries again.
func (w *Writer) endCompression(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.compressing = false
	if !errors.Is(err, errStopped) {
		w.stats.LastError = fmt.Errorf("compress log: %w", err)
	}
}

// compressAside compresses while nobody else wants the processor. It has a
// goroutine, and so a priority, of its own: whoever holds mu must not wait.
func (w *Writer) compressAside(path string) error {
	result := make(chan error)
	go func() {
		yieldProcessor()
		result <- w.compress(path)
	}()
	return <-result
}

// compress makes the unfinished copy of a rotated file.
func (w *Writer) compress(path string) (err error) {
	from, err := os.Open(path)
	if err != nil {
		return err
	}
	defer from.Close()
	info, err := from.Stat()
	if err != nil {
		return err
	}
	to, err := os.OpenFile(path+unfinishedSuffix, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()

	z, _ := gzip.NewWriterLevel(to, gzip.BestSpeed) // a valid level
	z.Name = filepath.Base(path)
	z.Comment = identity(info)
	z.ModTime = info.ModTime()
	if _, err := io.Copy(z, stoppable{from, w.stop}); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	if err := os.Chtimes(to.Name(), time.Time{}, info.ModTime()); err != nil {
		return err
	}
	// The original goes next: its copy has to survive a power cut.
	return to.Sync()
}

// replace puts the finished copy in the place of its original, unless that
// was removed in the meantime.
func (w *Writer) replace(path string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, err := os.Stat(path); err != nil {
		return err
	}
	if err := os.Rename(path+unfinishedSuffix, path+compressedSuffix); err != nil {
		return err
	}
	return os.Remove(path)
}

// identity names a file for as long as somebody holds it open. A compressed
// file has the identity of its original in its header, so that a follower
// that has read the one does not read the other.
func identity(info fs.FileInfo) string {
	st := info.Sys().(*syscall.Stat_t)
	return fmt.Sprintf("%d:%d", st.Dev, st.Ino)
}

// A stoppable is a reader that fails once stop is closed.
type stoppable struct {
	io.Reader
	stop <-chan struct{}
}

func (s stoppable) Read(p []byte) (int, error) {
	select {
	case <-s.stop:
		return 0, errStopped
	default:
		return s.Reader.Read(p)
	}
}
