package runs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"syscall"

	"golang.org/x/sys/unix"
)

// errReplaced is the damage of a file that is whole, but that nobody would find.
var errReplaced = errors.New("it was removed or replaced while it was open")

// inPlace returns a *DamagedError if the path does not name the file any more.
func (f *file) inPlace() error {
	info, err := os.Stat(f.path)
	switch {
	case err == nil && os.SameFile(info, f.info):
		return nil
	case err == nil, isNowhere(err):
		return &DamagedError{Path: f.path, Err: errReplaced}
	}
	return err
}

// isNowhere reports whether err says that a path names nothing.
func isNowhere(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ELOOP)
}

// restoreSuffix names the copy of a file that is not in its place.
const restoreSuffix = ".restoring"

// restore puts a copy of a file in its place, from which it was removed, and
// opens that. What is there instead is set aside.
func (f *file) restore(noSync bool) (*file, Rescue, error) {
	err := os.MkdirAll(filepath.Dir(f.path), 0o700)
	if err == nil {
		err = inUse(f.path)
	}
	copied := f.path + restoreSuffix
	if err == nil {
		err = f.copyTo(copied)
	}
	aside := ""
	if err == nil {
		aside, err = displace(copied, f.path)
	}
	if err != nil {
		os.Remove(copied)
		return nil, Rescue{}, fmt.Errorf("restore the file of runs: %w", err)
	}
	g, err := openFile(f.path, noSync)
	if damaged, ok := errors.AsType[*DamagedError](err); ok {
		return setAside(damaged, noSync, false)
	}
	if err != nil {
		return nil, Rescue{}, err
	}
	return g, Rescue{Aside: aside, Problem: errReplaced.Error(), Salvaged: g.found}, nil
}

// inUse returns a *LockedError if another process, or another store, has what is
// at path.
func inUse(path string) error {
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := tryLock(f); errors.Is(err, syscall.EWOULDBLOCK) {
		return &LockedError{Path: path}
	}
	return nil
}

// copyTo copies what is on disk of an open file. What cannot be read is left
// out, with what follows it: opening the copy will tell.
func (f *file) copyTo(path string) (err error) {
	info, err := f.handle.Stat()
	if err != nil {
		return err
	}
	to, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	if _, err := io.Copy(to, readable{io.NewSectionReader(f.handle, 0, info.Size())}); err != nil {
		return err
	}
	return to.Sync()
}

// readable ends where its reader cannot be read.
type readable struct{ io.Reader }

func (r readable) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	if err != nil {
		err = io.EOF
	}
	return n, err
}

// displace renames a file to path. What was there gets another name; if it is a
// file, there is one at path all the time.
func displace(from, path string) (aside string, err error) {
	if _, err := os.Lstat(path); err == nil {
		if aside, err = nameAside(path); err != nil {
			return "", err
		}
		if os.Link(path, aside) != nil {
			if err := os.Rename(path, aside); err != nil {
				return "", err
			}
		}
	}
	if err := os.Rename(from, path); err != nil {
		return "", err
	}
	dropAside(path)
	return aside, syncDir(filepath.Dir(path))
}

// enter begins a use of the file, unless it is retired.
func (f *file) enter() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.retired {
		f.users++
	}
	return !f.retired
}

func (f *file) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.users--; f.retired && f.users == 0 {
		f.free()
	}
}

// retire ends the use of a file, when the last one who reads it has done so.
func (f *file) retire() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.retired = true; f.users == 0 {
		f.free()
	}
}

// free gives back what bolt has of the system. Closing it might wait for ever
// for locks, which it keeps when it comes upon damage; so this reaches for its
// mapping, for which it has no other way.
func (f *file) free() {
	f.handle.Close()
	if m := reflect.ValueOf(f.bolt).Elem().FieldByName("dataref"); m.IsValid() && m.Kind() == reflect.Slice && m.Len() > 0 {
		_ = unix.Munmap(m.Bytes())
	}
}
