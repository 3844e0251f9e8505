package logs

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/fsnotify/fsnotify"
)

// A fileWatch tells when something happens to a file, which need not exist,
// nor need its directory: until that exists, the nearest one above is watched
// for the next step down.
//
// The directory above the one that matters is watched, too. A directory that
// is removed does not tell it itself as long as somebody, such as a follower,
// holds a file open that was in it.
type fileWatch struct {
	*fsnotify.Watcher
	path string
	at   string // the directory that is watched
	next string // what is waited for in it: the file, or a directory on its path
}

func watchFile(path string) (*fileWatch, error) {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	w := &fileWatch{Watcher: watcher, path: path}
	if err := w.arm(); err != nil {
		_ = watcher.Close()
		return nil, err
	}
	return w, nil
}

// wait returns when something may have happened to the file, or with ctx's
// error.
func (w *fileWatch) wait(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case event := <-w.Events:
			switch {
			case event.Name == w.path && w.next == w.path:
				return nil
			case event.Name == w.at, event.Name == w.next:
				return w.arm()
			}
		case err := <-w.Errors:
			if !errors.Is(err, fsnotify.ErrEventOverflow) {
				return err
			}
			return w.arm()
		}
	}
}

// arm watches the file's directory or, without one, the nearest one above.
func (w *fileWatch) arm() error {
	for {
		for _, old := range w.WatchList() {
			_ = w.Remove(old) // an error says that it is gone
		}
		w.at, w.next = filepath.Dir(w.path), w.path
		err := w.add()
		for errors.Is(err, fs.ErrNotExist) && w.at != filepath.Dir(w.at) {
			w.at, w.next = filepath.Dir(w.at), w.at
			err = w.add()
		}
		if err != nil || w.next == w.path {
			return err
		}
		// It may have been made before the watch was there to see it.
		if _, err := os.Lstat(w.next); err != nil {
			return nil
		}
	}
}

// add watches at, after the directory above it, which tells when at is
// replaced.
func (w *fileWatch) add() error {
	if err := w.Add(filepath.Dir(w.at)); err != nil {
		return err
	}
	return w.Add(w.at)
}
