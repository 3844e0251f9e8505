package config

import (
	"fmt"
	"strings"
)

// Template returns the file that [Init] writes: all keys, each with its help
// and commented out with its default, so that it means the same as {}.
func Template() []byte {
	var b strings.Builder
	b.WriteString(`// Settings of the PoppoBuilder daemon. Every key is optional; one that is
// commented out shows its default. Comments and trailing commas are welcome.
// A running daemon takes a change by "poppobuilder daemon reload", the keys
// marked with [restart] by "poppobuilder daemon restart".
{
`)
	var open []string // the sections that we are in
	for _, k := range table() {
		path := strings.Split(k.Name, ".")
		sections, name := path[:len(path)-1], path[len(path)-1]
		same := 0
		for same < min(len(open), len(sections)) && open[same] == sections[same] {
			same++
		}
		closeSections(&b, len(open), same)
		open = sections
		for depth := same; depth < len(sections); depth++ {
			fmt.Fprintf(&b, "%s%q: {\n", indent(depth), sections[depth])
		}
		restart := ""
		if !k.Live {
			restart = " [restart]"
		}
		v, _ := k.parseText(k.Default)
		in := indent(len(sections))
		fmt.Fprintf(&b, "%s// %s%s\n%s// allowed: %s\n%s// %q: %s,\n", in, k.Help, restart, in, k.Allowed, in, name, k.literal(v, k.Default))
	}
	closeSections(&b, len(open), 0)
	b.WriteString("}\n")
	return []byte(b.String())
}

func closeSections(b *strings.Builder, from, to int) {
	for depth := from - 1; depth >= to; depth-- {
		b.WriteString(indent(depth) + "},\n")
	}
}

func indent(depth int) string { return strings.Repeat("  ", depth+1) }
