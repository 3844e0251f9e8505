package config

import (
	"flag"
	"fmt"
)

// Flags are the settings that were given on a command line. They are not
// checked here: [Load] does that, together with the other sources.
type Flags struct{ given map[string]string }

// RegisterFlags defines a flag for every key, as in --daemon.maxProcesses.
func RegisterFlags(fs *flag.FlagSet) *Flags {
	f := &Flags{given: map[string]string{}}
	for _, k := range table() {
		fs.Var(&flagText{key: k, flags: f}, k.Name, fmt.Sprintf("%s: %s", k.Help, k.Allowed))
	}
	return f
}

// Args returns the flags that were given, as --KEY=VALUE in the order of
// [Keys], so that [Load] sees them again after a re-exec or at a reload.
func (f *Flags) Args() []string {
	var args []string
	for _, k := range table() {
		if text, ok := f.given[k.Name]; ok {
			args = append(args, "--"+k.Name+"="+text)
		}
	}
	return args
}

type flagText struct {
	key   Key
	flags *Flags
}

func (t *flagText) String() string   { return t.key.Default }
func (t *flagText) IsBoolFlag() bool { return t.key.Kind == Bool }

func (t *flagText) Set(text string) error {
	t.flags.given[t.key.Name] = text
	return nil
}
