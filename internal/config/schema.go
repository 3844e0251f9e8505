package config

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// Schema returns a JSON schema of the file, draft 2020-12, for editors and
// other tools. It is the same text each time.
//
// It accepts every file that [Load] accepts. It cannot see what a schema has
// no words for: keys that are given twice, the range of a duration or a size
// that is written as text, an address that is not on the loopback, and maxDelay
// shorter than initialDelay.
func Schema() []byte {
	root := object("Settings of the PoppoBuilder daemon")
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["$id"] = "https://github.com/poppobuilder/poppobuilder/config.schema.json"
	property(root, "$schema", schema{"type": "string"})
	for _, k := range table() {
		property(root, k.Name, k.schema())
	}
	for _, name := range ancestralKeys() {
		property(root, name, schema{"description": "has no effect", "deprecated": true})
	}
	text, err := json.MarshalIndent(root, "", "  ") // with sorted keys
	if err != nil {
		panic("config: schema: " + err.Error()) // strings, numbers, lists and maps only
	}
	return append(text, '\n')
}

type schema map[string]any

func object(description string) schema {
	return schema{"type": "object", "description": description, "additionalProperties": false, "properties": schema{}}
}

// property puts s at the path, with the objects that it needs.
func property(parent schema, path string, s schema) {
	properties := parent["properties"].(schema)
	name, rest, more := strings.Cut(path, ".")
	if !more {
		properties[name] = s
		return
	}
	child, ok := properties[name].(schema)
	if !ok {
		child = object("the section " + name)
		properties[name] = child
	}
	property(child, rest, s)
}

// The text forms, a little wider than what parseDuration and parseSize take.
const (
	durationPattern = `^([0-9]+|[0-9]+d|([0-9]*\.?[0-9]*(ns|us|µs|μs|ms|s|m|h))+)$`
	sizePattern     = `^[0-9]+([KMGkmg]([iI]?[bB])?|[bB])?$`
	hostPattern     = `^(localhost|127\.[.0-9]+|[.:0-9A-Fa-f]*:[.:0-9A-Fa-f]*)$`
)

func (k Key) schema() schema {
	v, _ := k.parseText(k.Default)
	s := schema{"description": k.Help, "default": jsonValue(v)}
	number := schema{"type": "integer", "minimum": k.min, "maximum": k.max}
	switch k.Kind {
	case Bool:
		s["type"] = "boolean"
	case Int:
		s["type"], s["minimum"], s["maximum"] = "integer", k.min, k.max
	case Float:
		s["type"], s["minimum"], s["maximum"] = "number", k.min, k.max
	case Port:
		s["type"], s["minimum"], s["maximum"] = []string{"integer", "null"}, k.min, k.max
	case Choice:
		s["enum"] = slices.Clone(k.Choices)
		if k.Name == "daemon.schedulingStrategy" { // sorted: the text is the same each time
			s["enum"] = slices.Concat(k.Choices, slices.Sorted(maps.Keys(ancestralStrategies())))
		}
	case String:
		s["type"], s["pattern"] = "string", hostPattern
	case Command:
		s["type"] = "array"
		s["items"] = schema{"type": "string"}
		s["prefixItems"] = []schema{{"type": "string", "minLength": 1}}
	case Duration, Size:
		pattern := durationPattern
		if k.Kind == Size {
			pattern = sizePattern
		}
		forms := []schema{number, {"type": "string", "pattern": pattern}}
		if k.zero {
			forms = append(forms, schema{"const": 0})
		}
		s["anyOf"] = forms
	}
	return s
}
