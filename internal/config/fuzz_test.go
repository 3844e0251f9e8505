package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tailscale/hujson"
	"pgregory.net/rapid"

	"github.com/poppobuilder/poppobuilder/internal/config"
)

// Any text: Load does not panic, and places its faults inside the file. Where
// Set succeeds, Get returns what was set, no other key changes, and every
// byte of the old file is still there but those of the old value. Unset takes
// the key away again and keeps all comments.
func FuzzSet(f *testing.F) {
	for _, text := range []string{
		"", "{}", "// c", "{ /* c */ }", ancestors, string(config.Template()), "\ufeff{}",
		"{\r\n  \"daemon\": {\r\n    \"port\": 1, // c\r\n  },\r\n}",
		"{\"logging\":{\"level\":\"info\"/*a*/,/*b*/\"maxAge\":1//c\n}}",
		"{\"daemon\": {\"restart\": {\n// c\n}\n}\n}", "{ // c\n}", "{\"daemon\": {\"port\":1\n, \"enabled\":true}}",
		"[[[", "{\"a\": \"\xff\"}", "{\"daemon\": {\"worker\": {\"command\": [\"\\ud800\"]}}}",
	} {
		for i, value := range []string{"true", "3", "fair", "null", "localhost", "1m", "0.5", `["a", "b"]`, "30d"} {
			f.Add(text, uint8(i), value)
		}
	}
	file := filepath.Join(f.TempDir(), "config.json")
	f.Fuzz(func(t *testing.T, text string, which uint8, value string) {
		key := config.Keys()[int(which)%len(config.Keys())].Name
		checkSet(t, file, text, key, value)
	})
}

// The same for texts that are valid, in any layout.
func TestSetAnyLayout(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "config.json")
	rapid.Check(t, func(t *rapid.T) {
		text := anyGap.Draw(t, "head") + anyObject(t, "", map[string]bool{}) + anyGap.Draw(t, "end")
		key := rapid.SampledFrom(config.Keys()).Draw(t, "key")
		value := rapid.SampledFrom(validValues(key)).Draw(t, "value")
		if !checkSet(t, file, text, key.Name, value) {
			t.Errorf("refused: %s = %s in\n%s", key.Name, value, text)
		}
	})
}

// anyGap is what may stand between two tokens.
var anyGap = rapid.Map(rapid.SliceOfN(rapid.SampledFrom([]string{
	" ", "  ", "\t", "\n", "\n", "\r\n", "\n  ", "\n    ", "// c\n", "// \"}{,\n", "/* c */", "/*\n*/", "\n\n",
}), 0, 3), func(parts []string) string { return strings.Join(parts, "") })

// anyObject is some of the members of a section, each with a valid value.
func anyObject(t *rapid.T, prefix string, done map[string]bool) string {
	var members []string
	for _, k := range config.Keys() {
		rest, ok := strings.CutPrefix(k.Name, prefix)
		if !ok {
			continue
		}
		name, _, nested := strings.Cut(rest, ".")
		if done[prefix+name] || rapid.IntRange(0, 2).Draw(t, "skip") == 0 {
			continue
		}
		done[prefix+name] = true
		value := ""
		if nested {
			value = anyObject(t, prefix+name+".", done)
		} else {
			value = inFile(k, rapid.SampledFrom(validValues(k)).Draw(t, k.Name))
		}
		gap := func() string { return anyGap.Draw(t, "gap") }
		members = append(members, gap()+`"`+name+`"`+gap()+":"+gap()+value+gap())
	}
	comma := ""
	if len(members) > 0 && rapid.Bool().Draw(t, "trailing comma") {
		comma = ","
	}
	return "{" + strings.Join(members, ",") + comma + anyGap.Draw(t, "tail") + "}"
}

// validValues are some texts for Set that are valid in any file.
func validValues(k config.Key) []string {
	switch {
	case k.Name == "daemon.restart.initialDelay":
		return []string{"0", "1s"} // at most maxDelay
	case k.Name == "daemon.restart.maxDelay":
		return []string{"1s", "24h"}
	case k.Kind == config.Duration:
		return []string{"1s", "1000", "1h", k.Default}
	case k.Kind == config.Size:
		return []string{"1024", "1M"}
	case k.Kind == config.Bool:
		return []string{"true", "false"}
	case k.Kind == config.Choice:
		return k.Choices
	case k.Kind == config.Port:
		return []string{"null", "0", "65535"}
	case k.Kind == config.Command:
		return []string{"[]", `["a","b c"]`, `["{\"//,"]`}
	case k.Kind == config.String:
		return []string{"localhost", "::1"}
	default:
		return []string{"1", k.Default}
	}
}

// inFile is the JSON form of the text.
func inFile(k config.Key, text string) string {
	switch k.Kind {
	case config.Duration, config.Size, config.Choice, config.String:
		return `"` + text + `"`
	default:
		return text
	}
}

// checkSet asserts what FuzzSet says, and reports whether the value was set.
func checkSet(t rapid.TB, file, text, key, value string) bool {
	t.Helper()
	o := config.Options{File: file, Environ: []string{}}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	before, err := config.Load(o)
	if err != nil {
		lines := 1 + strings.Count(text, "\n")
		for _, fault := range faultsOf(t, err) {
			if fault.Line < 0 || fault.Line > lines || fault.Problem == "" {
				t.Errorf("fault %+v in a file of %d lines", fault, lines)
			}
		}
	}
	change, err := config.Set(file, key, value)
	if err != nil {
		if got := read(t, file); got != text {
			t.Fatalf("refused, but written: %q", got)
		}
		return false
	}
	after, err := config.Load(o)
	if err != nil {
		t.Fatalf("Set wrote what does not load: %v\n%s", err, read(t, file))
	}
	if before != nil {
		for _, k := range config.Diff(before.Settings, after.Settings) {
			if k != key {
				t.Errorf("set %s, and %s changed", key, k)
			}
		}
	}
	if got, origin, err := config.Get(o, key); err != nil || got != change.New || origin.Source != config.FromFile {
		t.Errorf("set %q to %q, got %q from %v, %v", key, value, got, origin, err)
	}
	set := read(t, file)
	if again, err := config.Set(file, key, change.New); err != nil || again.Changed {
		t.Errorf("set to what Get shows: %+v, %v", again, err)
	}
	if !subsequence(without(t, text, key), set) {
		t.Errorf("bytes are gone:\n%q\n%q", text, set)
	}
	if _, err := config.Unset(file, key); err != nil {
		if strings.Contains(err.Error(), "is longer than") { // the two delays go together
			return true
		}
		t.Fatalf("unset: %v\n%s", err, set)
	}
	if _, origin, err := config.Get(o, key); err != nil || origin.Source != config.FromDefault {
		t.Errorf("after unset: %v, %v", origin, err)
	}
	if got := read(t, file); !subsequence(comments(t, text, key), got) {
		t.Errorf("comments are gone:\n%q\n%q", text, got)
	}
	return true
}

// parse finds the value of the key in the text, or returns nil.
func parse(t rapid.TB, text, key string) (root hujson.Value, member *hujson.Value) {
	t.Helper()
	root, err := hujson.Parse([]byte(strings.TrimPrefix(text, "\ufeff") + "\n"))
	if err != nil {
		return hujson.Value{}, nil
	}
	return root, root.Find("/" + strings.ReplaceAll(key, ".", "/"))
}

// without is the text without the value of the key.
func without(t rapid.TB, text, key string) string {
	t.Helper()
	mark := len(text) - len(strings.TrimPrefix(text, "\ufeff"))
	if _, v := parse(t, text, key); v != nil {
		return text[:mark+v.StartOffset] + text[mark+v.EndOffset:]
	}
	return text
}

// comments are the comments of the text, but those inside the value of the key
// and around its colon.
func comments(t rapid.TB, text, key string) string {
	t.Helper()
	root, member := parse(t, text, key)
	if root.Value == nil {
		return ""
	}
	var b strings.Builder
	for v := range root.All() {
		inside := member != nil && v.StartOffset >= member.StartOffset && v.EndOffset <= member.EndOffset
		if !inside {
			b.WriteString(strings.TrimSpace(string(v.BeforeExtra)))
		}
	}
	return b.String()
}

// subsequence reports whether part is what remains of all when some bytes
// are taken out.
func subsequence(part, all string) bool {
	for i := 0; i < len(all) && part != ""; i++ {
		if all[i] == part[0] {
			part = part[1:]
		}
	}
	return part == ""
}
