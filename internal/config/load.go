package config

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/peterbourgon/ff/v3"
)

// Options name the sources of [Load]. The zero value means the defaults and
// the environment of the process.
type Options struct {
	// File is the path of config.json; it may be missing. Empty: no file.
	File string
	// Args are settings as flags, as [Flags.Args] returns them.
	Args []string
	// Environ holds "NAME=value" strings. Nil: [os.Environ].
	Environ []string
}

// Source is where a value comes from.
type Source string

// The sources, from the weakest to the strongest.
const (
	FromDefault Source = "default"
	FromFile    Source = "file"
	FromEnv     Source = "environment"
	FromFlag    Source = "flag"
)

// Origin is where the value of one key comes from.
type Origin struct {
	Source Source `json:"source"`
	// Detail is FILE:LINE:COLUMN, the name of the variable, or the flag; empty
	// for a default.
	Detail string `json:"detail,omitempty"`
}

// String is the source and the detail.
func (o Origin) String() string {
	if o.Detail == "" {
		return string(o.Source)
	}
	return string(o.Source) + " " + o.Detail
}

// Loaded is the result of [Load].
type Loaded struct {
	Settings
	Origins map[string]Origin // of every key
	Ignored []Ignored
}

// Load reads all sources. The error is a [Faults] if settings are wrong;
// otherwise it wraps the [*fs.PathError] of the file that cannot be read.
func Load(o Options) (*Loaded, error) {
	l := newLoader(o.File)
	if o.Environ == nil {
		o.Environ = os.Environ()
	}
	l.readEnv(o.Environ)
	if err := l.readRest(o.File, o.Args); err != nil {
		return nil, err
	}
	return l.finish()
}

// Validate checks one file, without environment and flags. The errors are
// those of [Load], but a missing file is one.
func Validate(file string) ([]Ignored, error) {
	if _, err := os.Stat(file); err != nil {
		return nil, fmt.Errorf("read settings: %w", err)
	}
	loaded, err := Load(Options{File: file, Environ: []string{}})
	if err != nil {
		return nil, err
	}
	return loaded.Ignored, nil
}

// Get returns the effective value of a key as text, in the form that [Set]
// takes. The error is an [*UnknownKeyError] or one of [Load].
func Get(o Options, key string) (value string, origin Origin, err error) {
	k, err := mustKey(key)
	if err != nil {
		return "", Origin{}, err
	}
	loaded, err := Load(o)
	if err != nil {
		return "", Origin{}, err
	}
	return k.format(k.load(&loaded.Settings)), loaded.Origins[key], nil
}

// Entry is one line of [List].
type Entry struct {
	Key    string `json:"key"`
	Value  any    `json:"value"` // durations in milliseconds, sizes in bytes
	Text   string `json:"text"`  // as from [Get]
	Origin Origin `json:"origin"`
}

// List returns the effective values of all keys, in the order of [Keys].
func List(o Options) ([]Entry, error) {
	loaded, err := Load(o)
	if err != nil {
		return nil, err
	}
	return loaded.Entries(), nil
}

// Entries lists the values of all keys, in the order of [Keys].
func (l *Loaded) Entries() []Entry {
	var entries []Entry
	for _, k := range table() {
		v := k.load(&l.Settings)
		entries = append(entries, Entry{Key: k.Name, Value: jsonValue(v), Text: k.format(v), Origin: l.Origins[k.Name]})
	}
	return entries
}

// loader collects values and faults while [ff] walks the sources. It is used
// once: a flag set that has failed half-way is not fit for a second try.
type loader struct {
	file    string
	flags   *flag.FlagSet
	loaded  Loaded
	faults  Faults
	places  map[string]place
	current place // of the value that is handed over next
}

// place is where a value was found.
type place struct {
	source       Source
	name         string // file or variable
	line, column int
}

func newLoader(file string) *loader {
	l := &loader{
		file:   file,
		flags:  flag.NewFlagSet("settings", flag.ContinueOnError),
		loaded: Loaded{Settings: Default(), Origins: map[string]Origin{}},
		places: map[string]place{},
	}
	l.flags.SetOutput(io.Discard)
	l.flags.Usage = func() {}
	for _, k := range table() {
		l.flags.Var(&setting{key: k, l: l}, k.Name, k.Help)
		l.loaded.Origins[k.Name] = Origin{Source: FromDefault}
	}
	return l
}

// setting is the flag of one key while it is loaded. Set never fails: what is
// wrong becomes a fault, so that the rest is checked as well.
type setting struct {
	key Key
	l   *loader
}

func (s *setting) String() string   { return s.key.Default }
func (s *setting) IsBoolFlag() bool { return s.key.Kind == Bool }

func (s *setting) Set(text string) error {
	at := s.l.current
	if at.source == FromFlag {
		at.name = "--" + s.key.Name
	}
	v, problem := s.key.parseText(text)
	if problem != "" {
		s.l.fault(at, s.key.Name, problem, s.key.Allowed)
		return nil
	}
	s.key.store(&s.l.loaded.Settings, v)
	s.l.places[s.key.Name] = at
	s.l.loaded.Origins[s.key.Name] = Origin{Source: at.source, Detail: location(at.name, at.line, at.column)}
	return nil
}

func (l *loader) fault(at place, key, problem, allowed string) {
	f := Fault{Key: key, Problem: problem, Allowed: allowed}
	if at.source == FromFile {
		f.File, f.Line, f.Column = at.name, at.line, at.column
	} else {
		f.From = at.name
	}
	l.faults = append(l.faults, f)
}

// readEnv sets the flags that have a variable. [ff] would read the process's
// own environment only. To ff they look like flags that were given: real
// ones override them, the file does not.
func (l *loader) readEnv(environ []string) {
	var names []string
	for _, k := range table() {
		names = append(names, strings.TrimPrefix(k.Env(), EnvPrefix))
		if text := getenv(environ, k.Env()); text != "" {
			l.current = place{source: FromEnv, name: k.Env()}
			_ = l.flags.Set(k.Name, text) // never fails, see setting
		}
	}
	for _, kv := range environ {
		name, text, _ := strings.Cut(kv, "=")
		name, ours := strings.CutPrefix(name, EnvPrefix)
		if text == "" || !ours || slices.Contains(names, name) || !looksLikeSetting(name) {
			continue
		}
		reason := "no setting has this variable"
		if near := nearest(name, names); near != "" {
			reason += ", did you mean " + EnvPrefix + near + "?"
		}
		l.loaded.Ignored = append(l.loaded.Ignored, Ignored{Key: EnvPrefix + name, Reason: reason})
	}
}

// looksLikeSetting reports whether a variable without its prefix starts with a
// section's name.
func looksLikeSetting(name string) bool {
	section, _, ok := strings.Cut(name, "_")
	return ok && slices.Contains(childrenOf(""), strings.ToLower(section))
}

// readRest hands flags and file to ff, which knows their order.
func (l *loader) readRest(file string, args []string) error {
	if err := checkRegular(file); err != nil {
		return fmt.Errorf("read settings: %w", err)
	}
	l.current = place{source: FromFlag}
	err := ff.Parse(l.flags, args,
		ff.WithConfigFileVia(&file),
		ff.WithAllowMissingConfigFile(true),
		ff.WithConfigFileParser(func(r io.Reader, set func(name, value string) error) error {
			data, err := io.ReadAll(io.LimitReader(r, MaxFileSize+1))
			if err != nil {
				return err
			}
			l.readFile(data, set)
			return nil
		}))
	if _, failed := errors.AsType[*fs.PathError](err); failed {
		return fmt.Errorf("read settings: %w", err)
	}
	switch {
	case err != nil: // the flags: our values and our parser return no error
		l.badArgs(err)
	case l.flags.NArg() > 0:
		l.fault(place{source: FromFlag, name: l.flags.Arg(0)}, "", "is not a flag", "--KEY=VALUE")
	}
	return nil
}

func (l *loader) badArgs(err error) {
	at := place{source: FromFlag, name: "flags"}
	_, name, unknown := strings.Cut(err.Error(), "not defined: -")
	if !unknown {
		l.fault(at, "", err.Error(), "--KEY=VALUE")
		return
	}
	at.name = "--" + name
	problem := "unknown flag"
	if near := suggest(name, false); near != "" {
		problem += fmt.Sprintf(", did you mean --%s?", near)
	}
	l.fault(at, "", problem, "")
}

// checkRegular keeps ff from opening what would block for ever (a FIFO) or
// fail with less than a sentence (a directory).
func checkRegular(file string) error {
	info, err := os.Stat(file)
	if err != nil {
		return nil // missing is valid, and the rest is for the one who opens it
	}
	switch mode := info.Mode(); {
	case mode.IsDir():
		return &fs.PathError{Op: "open", Path: file, Err: syscall.EISDIR}
	case !mode.IsRegular() && mode&fs.ModeCharDevice == 0:
		return &fs.PathError{Op: "open", Path: file, Err: errors.New("not a regular file")}
	}
	return nil
}

// finish does the checks that need more than one key.
func (l *loader) finish() (*Loaded, error) {
	r := l.loaded.Daemon.Restart
	if len(l.faults) == 0 && r.MaxDelay < r.InitialDelay {
		const first, last = "daemon.restart.initialDelay", "daemon.restart.maxDelay"
		key, at := last, l.places[last]
		if at == (place{}) {
			key, at = first, l.places[first]
		}
		l.fault(at, key,
			fmt.Sprintf("%s (%s) is longer than %s (%s)", first, formatDuration(r.InitialDelay), last, formatDuration(r.MaxDelay)),
			"maxDelay at least as long as initialDelay")
	}
	if len(l.faults) > 0 {
		l.faults.sort()
		return nil, l.faults
	}
	return &l.loaded, nil
}
