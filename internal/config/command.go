package config

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/tailscale/hujson"
)

func formatCommand(argv []string) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if argv == nil {
		argv = []string{}
	}
	_ = enc.Encode(argv) // a list of strings always encodes
	return strings.TrimSuffix(b.String(), "\n")
}

// parseCommandText reads a JSON list, or the name of one program.
func parseCommandText(s string) (any, string) {
	if strings.HasPrefix(s, "[") {
		j, err := hujson.Parse([]byte(s))
		if err != nil {
			return nil, fmt.Sprintf("%q is not a list of strings", clip(s))
		}
		return parseCommand(j.Value)
	}
	if strings.ContainsAny(s, " \t\n") {
		return nil, fmt.Sprintf("%q has a blank: write a command with arguments as a list", clip(s))
	}
	if s == "" {
		return []string(nil), ""
	}
	return checkCommand([]string{s})
}

func parseCommand(j hujson.ValueTrimmed) (any, string) {
	list, ok := j.(*hujson.Array)
	if !ok {
		return nil, "is " + kindName(j)
	}
	argv := make([]string, 0, len(list.Elements))
	for _, e := range list.Elements {
		lit, ok := e.Value.(hujson.Literal)
		if !ok || lit.Kind() != '"' {
			return nil, "has an element that is " + kindName(e.Value)
		}
		argv = append(argv, lit.String())
	}
	return checkCommand(argv)
}

func checkCommand(argv []string) (any, string) {
	if len(argv) > 0 && argv[0] == "" {
		return nil, "has an empty program name"
	}
	for _, arg := range argv {
		if strings.Contains(arg, "\x00") { // no system can pass it
			return nil, "has a NUL character"
		}
		if !utf8.ValidString(arg) { // JSON cannot carry it
			return nil, "is not UTF-8"
		}
	}
	return argv, ""
}
