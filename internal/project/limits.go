package project

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/tailscale/hujson"
)

// Limits bound what a run may use. Nil: as much as the daemon.
type Limits struct {
	// Of each process, see setrlimit(2). NProc counts all of the daemon's user.
	NoFile, NProc, Core, AddressSpace *int64
	// Of the run as a whole, where its worker has a cgroup that keeps them.
	Memory, PIDs *int64

	Nice  *int64 // -20..19
	Umask *int64 // 0..0777
}

// A limitKind says what a limit's value looks like.
type limitKind int

const (
	limitCount limitKind = iota
	limitSize            // bytes, or text such as "512M"
	limitMode            // octal text
)

// A limitKey is one of the limits.
type limitKey struct {
	name    string
	kind    limitKind
	field   func(*Limits) **int64
	min     int64
	max     int64
	allowed string
}

// limitKeys lists them in the order in which they are written.
func limitKeys() []limitKey {
	const sizes = `bytes, or text such as "512M"`
	return []limitKey{
		{"nofile", limitCount, func(l *Limits) **int64 { return &l.NoFile }, 1, math.MaxInt32, "1 or more"},
		{"nproc", limitCount, func(l *Limits) **int64 { return &l.NProc }, 1, math.MaxInt32, "1 or more"},
		{"core", limitSize, func(l *Limits) **int64 { return &l.Core }, 0, maxSize, sizes},
		{"addressSpace", limitSize, func(l *Limits) **int64 { return &l.AddressSpace }, 1, maxSize, sizes},
		{"memory", limitSize, func(l *Limits) **int64 { return &l.Memory }, 1, maxSize, sizes},
		{"pids", limitCount, func(l *Limits) **int64 { return &l.PIDs }, 1, math.MaxInt32, "1 or more"},
		{"nice", limitCount, func(l *Limits) **int64 { return &l.Nice }, -20, 19, "-20..19"},
		{"umask", limitMode, func(l *Limits) **int64 { return &l.Umask }, 0, 0o777, `octal text, "0".."777"`},
	}
}

// maxSize is what JSON's numbers hold exactly.
const maxSize = 1 << 53

// LimitNames returns the names that [Limits.Set] takes.
func LimitNames() (names []string) {
	for _, k := range limitKeys() {
		names = append(names, k.name)
	}
	return names
}

// Set sets a limit by its name in projects.json, from text; "default" takes it
// away.
func (l *Limits) Set(name, text string) error {
	for _, k := range limitKeys() {
		if k.name != name {
			continue
		}
		if text == "default" {
			*k.field(l) = nil
			return nil
		}
		n, ok := k.parse(text)
		if !ok || n < k.min || n > k.max {
			return fmt.Errorf("limit %s=%s is no good: use %s", name, text, k.allowed)
		}
		*k.field(l) = &n
		return nil
	}
	return fmt.Errorf("there is no limit %q: use %s", name, strings.Join(LimitNames(), ", "))
}

// String returns the limits as [Limits.Set] takes them: "nofile=100 umask=027".
func (l Limits) String() string {
	var words []string
	for _, k := range limitKeys() {
		if n := *k.field(&l); n != nil {
			words = append(words, k.name+"="+k.format(*n))
		}
	}
	return strings.Join(words, " ")
}

func (k limitKey) format(n int64) string {
	if k.kind == limitMode {
		return fmt.Sprintf("%03o", n)
	}
	return strconv.FormatInt(n, 10)
}

func (k limitKey) parse(text string) (int64, bool) {
	base, shift := 10, 0
	switch k.kind {
	case limitMode:
		base = 8
	case limitSize:
		for unit, s := range map[string]int{"K": 10, "M": 20, "G": 30} {
			if rest, ok := strings.CutSuffix(text, unit); ok {
				text, shift = rest, s
			}
		}
	}
	n, err := strconv.ParseInt(text, base, 64)
	return n << shift, err == nil && n<<shift>>shift == n
}

func (l Limits) clone() Limits {
	for _, k := range limitKeys() {
		*k.field(&l) = clonePointer(*k.field(&l))
	}
	return l
}

func (l Limits) validate(check func(ok bool, key, problem, allowed string)) {
	for _, k := range limitKeys() {
		if n := *k.field(&l); n != nil {
			check(*n >= k.min && *n <= k.max, "config.limits."+k.name, k.format(*n)+" is out of range", k.allowed)
		}
	}
}

// wire is the form of the limits in JSON; nil, if there are none.
func (l Limits) wire() *hujson.Object {
	object := &hujson.Object{}
	for _, k := range limitKeys() {
		n := *k.field(&l)
		if n == nil {
			continue
		}
		value := hujson.Int(*n)
		if k.kind == limitMode {
			value = hujson.String(k.format(*n))
		}
		object.Members = append(object.Members, hujson.ObjectMember{
			Name: hujson.Value{Value: hujson.String(k.name)}, Value: hujson.Value{Value: value},
		})
	}
	if len(object.Members) == 0 {
		return nil
	}
	return object
}

// rawLimits is the JSON of l.
func rawLimits(l Limits) json.RawMessage {
	object := l.wire()
	if object == nil {
		return nil
	}
	return (&hujson.Value{Value: object}).Pack()
}

func (d *decoder) limits(key string, v hujson.Value) (l Limits) {
	keys := limitKeys()
	d.members(key, v, func(name, key string, v hujson.Value) {
		for _, k := range keys {
			if k.name == name {
				*k.field(&l) = d.limit(key, v, k)
			}
		}
	})
	return l
}

func (d *decoder) limit(key string, v hujson.Value, k limitKey) *int64 {
	if kind := v.Value.Kind(); kind == '"' && k.kind != limitCount {
		if n, ok := k.parse(v.Value.(hujson.Literal).String()); ok {
			return &n
		}
	} else if f, ok := d.number(v); ok && k.kind != limitMode && f == math.Trunc(f) && math.Abs(f) <= maxSize {
		n := int64(f)
		return &n
	}
	d.wrongType(key, v, k.allowed)
	return nil
}
