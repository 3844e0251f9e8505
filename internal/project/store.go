package project

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
	"github.com/tailscale/hujson"
)

// maxFile is the size of the largest file that is read, in bytes.
const maxFile = 16 << 20

// emptyFile is what a registry starts as.
const emptyFile = `{
  "version": "1.0.0",
  "projects": {}
}
`

// A Store is the file that holds the registry: projects.json, which may have
// comments and trailing commas.
type Store struct {
	Path string
}

// Load reads the registry. A file that is not there is an empty registry. What
// is wrong in the file comes back as [Faults], all of it at once.
func (s Store) Load() (*Registry, error) { return load(s.Path) }

// Update changes the registry: it takes the lock, loads, calls fn, and writes
// what fn has made of it. Processes and goroutines that update at the same time
// do so one after another, so fn should be quick.
//
// Only what has changed is written anew: comments, layout, the order of keys
// and keys that are not known stay as they are. The file is replaced in one
// step, with mode 0600, and is on disk when Update returns; if it is a symbolic
// link, its target is replaced. It and its directory (mode 0700) are made if
// they are not there. What root writes keeps its owner, or gets that of the
// directory.
//
// If fn returns an error, that is returned and nothing is written; the same
// goes for a file with [Faults]. If fn changes nothing, the file is not
// touched.
func (s Store) Update(fn func(*Registry) error) error {
	path, err := target(s.Path)
	if err != nil {
		return fmt.Errorf("update the project registry: %w", err)
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("update the project registry: %w", err)
	}
	// The lock is a file of its own because the registry's is replaced.
	unlock, err := lock(path + ".lock")
	if err != nil {
		return fmt.Errorf("lock the project registry: %w", err)
	}
	defer unlock()

	old, err := load(path)
	if err != nil {
		return err
	}
	draft := old.clone()
	if err := fn(draft); err != nil {
		return err
	}
	data, err := draft.encode(old)
	if err != nil {
		return fmt.Errorf("update the project registry: %w", err)
	}
	if data == nil {
		return nil
	}
	if err := replace(path, data); err != nil {
		return fmt.Errorf("write the project registry: %w", err)
	}
	return nil
}

func load(path string) (*Registry, error) {
	data, err := read(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		data = []byte(emptyFile)
	case err != nil:
		return nil, fmt.Errorf("read the project registry: %w", err)
	}
	data = bytes.TrimPrefix(data, []byte("\uFEFF"))
	if i := bytes.LastIndexByte(data, '\n'); bytes.Contains(data[i+1:], []byte("//")) {
		data = append(data, '\n') // the parser wants one after a comment, also at the end
	}
	return decode(path, data)
}

func read(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() && !info.IsDir() { // to open a FIFO could take for ever
		return nil, &fs.PathError{Op: "open", Path: path, Err: errors.New("not a regular file")}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if len(data) > maxFile {
		err = &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("larger than %d MiB", maxFile>>20)}
	}
	return data, err
}

// decode returns the registry that data holds.
func decode(path string, data []byte) (*Registry, error) {
	d := decoder{file: path, data: data}
	if len(bytes.TrimSpace(data)) == 0 {
		// Perhaps somebody is writing it; taken for an empty registry, it would
		// make a daemon drop all projects.
		return nil, Faults{{File: path, Problem: "is empty", Allowed: "at least {}"}}
	}
	r := &Registry{projects: make(map[string]Project), file: data}
	root, ok := d.parse()
	if !ok {
		return nil, d.faults.err()
	}
	d.members("", root, func(name, key string, v hujson.Value) {
		if name != "projects" {
			return
		}
		d.members(key, v, func(id, key string, v hujson.Value) { r.projects[id] = d.entry(id, key, v) })
	})
	if err := d.faults.err(); err != nil {
		return nil, err
	}
	return r, nil
}

// entry decodes and validates one project of the file.
func (d *decoder) entry(id, key string, v hujson.Value) Project {
	before := len(d.faults)
	p := d.project(key, v)
	p.ID = id // an "id" inside, if there is one, means nothing
	wrong := make(map[string]bool)
	for _, f := range d.faults[before:] {
		wrong[f.Key] = true
	}
	if wrong[key] { // no object: nothing more to say
		return p
	}
	for _, f := range p.validate() {
		full := key
		if f.Key != "" {
			full = join(key, f.Key)
		}
		if !wrong[full] {
			d.fault(locate(v, f.Key), full, f.Problem, f.Allowed)
		}
	}
	return p
}

// locate returns the offset of the value at a key like "config.env.A.B", or of
// the innermost object on the way to it that is there.
func locate(v hujson.Value, key string) int {
	object, ok := v.Value.(*hujson.Object)
	if !ok {
		return v.StartOffset
	}
	for _, m := range object.Members {
		name := nameOf(m)
		if key == name {
			return m.Value.StartOffset
		}
		if rest, ok := strings.CutPrefix(key, name+"."); ok {
			return locate(m.Value, rest)
		}
	}
	return v.StartOffset
}

// target follows symbolic links, also to where nothing is yet.
func target(path string) (string, error) {
	for range 40 { // as many as Linux follows
		link, err := os.Readlink(path)
		if err != nil {
			return path, nil // not a link; whatever else is wrong will come up
		}
		if !filepath.IsAbs(link) { // relative to where the link really is
			dir, err := filepath.EvalSymlinks(filepath.Dir(path))
			if err != nil {
				return "", err
			}
			link = filepath.Join(dir, link)
		}
		path = link
	}
	return "", &fs.PathError{Op: "open", Path: path, Err: errors.New("too many symbolic links")}
}

// replace puts data in place of the file in one step, on disk before it returns.
func replace(path string, data []byte) error {
	dir := filepath.Dir(path)
	f, err := renameio.NewPendingFile(path, renameio.WithTempDir(dir), renameio.WithStaticPermissions(0o600))
	if err != nil {
		return err
	}
	defer f.Cleanup()
	owner := path // after a change by root, the daemon of another user must still read it
	if _, err := os.Stat(path); err != nil {
		owner = dir
	}
	giveToOwner(f.File, owner)
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.CloseAtomicallyReplace(); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync() // the new name as well, or a power cut could bring the old file back
}
