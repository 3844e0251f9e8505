package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/tailscale/hujson"
)

// Change is what [Set] or [Unset] did.
type Change struct {
	Key string `json:"key"`
	// Old and New are the values by file and default, as text. Old is what
	// stood in the file, if that was not valid.
	Old string `json:"old"`
	New string `json:"new"`
	// Live: a reload is enough for a running daemon.
	Live bool `json:"live"`
	// Changed: the file was written. A value may be written that the default
	// has as well.
	Changed bool `json:"changed"`
}

// Set gives a key a value in the file. The value is text as for a flag:
// 30000 or 30s, null, a JSON list. Everything else in the file stays as it
// is, byte for byte; file, directory and section are made if they are
// missing (0600, 0700). If the key has that value already, nothing is
// written.
//
// The result must validate as a whole, else the error is a [Faults] and
// nothing is written. Other errors are an [*UnknownKeyError] and those of the
// file system. Simultaneous calls, also of other processes, wait for each
// other.
func Set(file, key, value string) (Change, error) {
	k, err := mustKey(key)
	if err != nil {
		return Change{}, err
	}
	v, problem := k.parseText(value)
	if problem != "" {
		return Change{}, Faults{{Key: key, Problem: problem, Allowed: k.Allowed}}
	}
	return edit(file, k, func(d *document) []byte {
		if m := d.find(key); m != nil {
			if old, problem := k.parseJSON(m.Value.Value); problem == "" && equal(old, v) {
				return d.src
			}
		}
		return d.set(key, k.literal(v, value))
	})
}

// Unset removes a key from the file, so that the default holds. Comments
// stay. It is no error if the key is not there. Otherwise it is like [Set].
func Unset(file, key string) (Change, error) {
	k, err := mustKey(key)
	if err != nil {
		return Change{}, err
	}
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return Change{Key: key, Old: k.Default, New: k.Default, Live: k.Live}, nil
	}
	return edit(file, k, func(d *document) []byte { return d.unset(key) })
}

// edit replaces the text of the file by what change makes of it, if that is
// valid.
func edit(file string, k Key, change func(*document) []byte) (Change, error) {
	target, unlock, err := lockFile(file)
	if err != nil {
		return Change{}, fmt.Errorf("change settings: %w", err)
	}
	defer unlock()
	data, err := readBounded(target)
	if err != nil {
		return Change{}, fmt.Errorf("change settings: %w", err)
	}
	d, fault := parseDocument(data)
	if fault != nil {
		fault.File = file
		return Change{}, Faults{*fault}
	}
	text := change(d)
	loaded, err := check(file, text)
	if err != nil {
		return Change{}, err
	}
	c := Change{Key: k.Name, Old: d.valueOf(k), New: k.format(k.load(&loaded.Settings)), Live: k.Live}
	if bytes.Equal(text, d.src) {
		return c, nil
	}
	if d.bom {
		text = append([]byte(bom), text...)
	}
	if err := replaceFile(target, text); err != nil {
		return Change{}, fmt.Errorf("change settings: %w", err)
	}
	c.Changed = true
	return c, nil
}

// check validates text as if it were the file's.
func check(file string, text []byte) (*Loaded, error) {
	l := newLoader(file)
	l.readFile(text, l.flags.Set)
	return l.finish()
}

// valueOf returns the value that the document gives the key, as text.
func (d *document) valueOf(k Key) string {
	m := d.find(k.Name)
	if m == nil {
		v, _ := k.parseText(k.Default)
		return k.format(v)
	}
	v, problem := k.parseJSON(m.Value.Value)
	if problem != "" {
		return clip(string(d.src[m.Value.StartOffset:m.Value.EndOffset]))
	}
	return k.format(v)
}

// find returns the member of that full name, or nil.
func (d *document) find(key string) *hujson.ObjectMember {
	obj := d.root
	for {
		name, rest, more := strings.Cut(key, ".")
		i := indexOf(obj, name)
		if i < 0 || !more {
			if i < 0 {
				return nil
			}
			return &obj.Members[i]
		}
		obj, _ = obj.Members[i].Value.Value.(*hujson.Object)
		key = rest
	}
}

// indexOf returns the place of a member in obj, which may be nil, or -1.
func indexOf(obj *hujson.Object, name string) int {
	if obj != nil {
		for i, m := range obj.Members {
			if memberName(m) == name {
				return i
			}
		}
	}
	return -1
}
