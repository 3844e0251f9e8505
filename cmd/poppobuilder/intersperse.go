package main

import (
	"flag"
	"fmt"
	"strconv"
	"strings"
)

// intersperse moves the flags of args in front of the rest, because package
// flag stops at the first argument that is none. It stops at "--" itself. What
// it returns reads flags, "--", positional arguments, and then, if args has
// one, the "--" of args and all that follows it, untouched.
func intersperse(fs *flag.FlagSet, args []string) ([]string, error) {
	var flags, positional []string
	for len(args) > 0 && args[0] != "--" {
		arg := args[0]
		args = args[1:]
		if !looksLikeFlag(arg) {
			positional = append(positional, arg)
			continue
		}
		name, _, hasValue := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		if name == "h" || name == "help" {
			return nil, flag.ErrHelp
		}
		f := fs.Lookup(name)
		if f == nil {
			return nil, &usageError{problem: fmt.Sprintf("unknown flag %q%s", "--"+name, suggest("--"+name, flagNames(fs)))}
		}
		flags = append(flags, arg)
		if hasValue || isBool(f) {
			continue
		}
		if len(args) == 0 || args[0] == "--" {
			return nil, &usageError{problem: fmt.Sprintf("flag %q needs a value", "--"+name)}
		}
		flags = append(flags, args[0])
		args = args[1:]
	}
	return append(append(append(flags, "--"), positional...), args...), nil
}

// splitCommand divides what a command was given into its own arguments and the
// command line behind "--".
func splitCommand(args []string) (own, command []string) {
	for i, arg := range args {
		if arg == "--" {
			return args[:i], args[i+1:]
		}
	}
	return args, nil
}

// looksLikeFlag tells a flag from "-" and from a negative number, which is a
// value.
func looksLikeFlag(arg string) bool {
	if len(arg) < 2 || arg[0] != '-' {
		return false
	}
	_, err := strconv.ParseFloat(arg, 64)
	return err != nil
}

// isBool reports whether f takes no separate value.
func isBool(f *flag.Flag) bool {
	b, ok := f.Value.(interface{ IsBoolFlag() bool })
	return ok && b.IsBoolFlag()
}

// flagNames returns the flags of fs as they are typed.
func flagNames(fs *flag.FlagSet) []string {
	var names []string
	fs.VisitAll(func(f *flag.Flag) { names = append(names, "--"+f.Name) })
	return append(names, "--help")
}

// wantsJSON looks for --json in a command line that may yet turn out to be
// wrong, so that the error about it is JSON too.
func wantsJSON(args []string) bool {
	args, _ = splitCommand(args)
	for _, arg := range args {
		switch arg {
		case "--json", "-json", "--json=true", "-json=true":
			return true
		}
	}
	return false
}
