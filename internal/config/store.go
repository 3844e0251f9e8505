package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Init writes a file in which every key is explained and commented out. It is
// an error that wraps [fs.ErrExist] if the file is there.
func Init(file string) error {
	target, unlock, err := lockFile(file)
	if err != nil {
		return fmt.Errorf("create settings: %w", err)
	}
	defer unlock()
	if _, err := os.Lstat(target); err == nil {
		return fmt.Errorf("create settings: %w; reset replaces it", &fs.PathError{Op: "create", Path: file, Err: fs.ErrExist})
	}
	if err := replaceFile(target, Template()); err != nil {
		return fmt.Errorf("create settings: %w", err)
	}
	return nil
}

// Reset replaces the file by the one that [Init] writes. What was there,
// valid or not, is kept as the backup, FILE.bak, in place of an older one.
// Backup is empty if there was nothing.
func Reset(file string) (backup string, err error) {
	target, unlock, err := lockFile(file)
	if err != nil {
		return "", fmt.Errorf("reset settings: %w", err)
	}
	defer unlock()
	if _, err := os.Lstat(target); err == nil {
		backup = target + ".bak"
		if err := linkOver(target, backup); err != nil {
			return "", fmt.Errorf("keep a copy of the settings: %w", err)
		}
	}
	if err := replaceFile(target, Template()); err != nil {
		return "", fmt.Errorf("reset settings: %w", err)
	}
	return backup, nil
}

// linkOver gives the file a second name. Unlike a rename it leaves no moment
// without a file, unlike a copy it needs no right to read.
func linkOver(file, name string) error {
	tmp := name + ".tmp" // link(2) replaces nothing, rename(2) does
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Link(file, tmp); err != nil {
		return err
	}
	if err := os.Rename(tmp, name); err != nil {
		return err
	}
	// rename(2) does nothing if both names are the same file already.
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// lockFile makes the directory of the file and waits until nobody else
// changes it. Target is the file itself where the name is a symbolic link.
//
// The lock is a file of its own, since the settings file is replaced by each
// change, and it is left behind: to remove it would let a waiter and a
// newcomer both in.
func lockFile(file string) (target string, unlock func(), err error) {
	if target, err = resolve(file); err != nil {
		return "", nil, err
	}
	if info, err := os.Stat(target); err == nil && !info.Mode().IsRegular() {
		return "", nil, checkRegular(target)
	}
	dir, base := filepath.Split(target)
	if err := os.MkdirAll(filepath.Clean(dir), 0o700); err != nil {
		return "", nil, err
	}
	f, err := openLock(filepath.Join(dir, "."+base+".lock"))
	if err != nil {
		return "", nil, err
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		f.Close()
		return "", nil, &fs.PathError{Op: "lock", Path: f.Name(), Err: err}
	}
	return target, func() { f.Close() }, nil
}

// openLock opens the lock file, which it makes if need be. It follows no
// symbolic link: root would make or open a file elsewhere for whoever may write
// to the directory.
func openLock(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return os.OpenFile(name, os.O_RDWR|syscall.O_NOFOLLOW, 0)
	}
	if err == nil {
		giveToOwner(f)
	}
	return f, err
}

// giveToOwner gives a file that root has just made to the owner of its
// directory, who must be able to open it too. Where that cannot be done, in some
// containers, it stays root's.
func giveToOwner(f *os.File) {
	if os.Geteuid() != 0 {
		return
	}
	info, err := os.Stat(filepath.Dir(f.Name()))
	if err != nil {
		return
	}
	if dir, ok := info.Sys().(*syscall.Stat_t); ok {
		_ = f.Chown(int(dir.Uid), int(dir.Gid))
	}
}

// resolve follows symbolic links, also those to a file that is not there yet.
func resolve(file string) (string, error) {
	for range 40 { // as many as Linux follows
		link, err := os.Readlink(file)
		switch {
		case errors.Is(err, syscall.EINVAL), errors.Is(err, fs.ErrNotExist):
			return file, nil // no link
		case err != nil:
			return "", err
		case filepath.IsAbs(link):
			file = link
		default: // relative to where the link really is
			dir, err := filepath.EvalSymlinks(filepath.Dir(file))
			if err != nil {
				return "", err
			}
			file = filepath.Join(dir, link)
		}
	}
	return "", &fs.PathError{Op: "open", Path: file, Err: syscall.ELOOP}
}

// readBounded reads at most one byte more than parseDocument takes. A missing
// file is empty.
func readBounded(file string) ([]byte, error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, MaxFileSize+1))
}

// replaceFile puts data in the place of the file, in one step that survives a
// crash: there is the old file or the new one, never half of one. Mode and
// owner stay. The caller holds the lock, so the temporary name is free, and
// what a crash left under it is garbage.
func replaceFile(file string, data []byte) (err error) {
	dir, base := filepath.Split(file)
	tmp := filepath.Join(dir, "."+base+".tmp")
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(tmp)
		}
	}()
	defer f.Close() // the second time, if all went well: harmless
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := copyOwner(f, file); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(tmp, file); err != nil {
		return err
	}
	return syncDir(filepath.Clean(dir))
}

// copyOwner gives f the mode and the owner of the file that it replaces, or
// the owner of the directory if there is none: after a change by root, the
// daemon of another user must still read it.
func copyOwner(f *os.File, file string) error {
	info, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		giveToOwner(f)
		return nil
	}
	if err != nil {
		return err
	}
	was, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return f.Chmod(info.Mode().Perm())
	}
	if int(was.Uid) != os.Geteuid() || int(was.Gid) != os.Getegid() {
		if err := f.Chown(int(was.Uid), int(was.Gid)); err != nil {
			return err
		}
	}
	return f.Chmod(info.Mode().Perm())
}

// syncDir makes the rename durable. Some file systems have nothing to sync
// and say so.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOTSUP) {
		return err
	}
	return nil
}
