package ipc_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/poppobuilder/poppobuilder/procworker/ipc"
)

// small limits make the interesting lengths likely.
const small = 64

func FuzzReceive(f *testing.F) {
	for _, seed := range []string{
		"", "\n", `{"type":"ready"}` + "\n", `{"type":"a"` + "\n", "{\"type\":\"\xff\"}\n", "\x00\n",
		`{"cmd":"NODE_X"}` + "\n", strings.Repeat("x", small) + "\n{\"type\":\"b\"}\n", `{"a":1,"type":"c"}` + "\n{",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for line := range bytes.Lines(data) {
			if bytes.Count(line, []byte("type"))+bytes.Count(line, []byte("cmd"))+bytes.Count(line, []byte(`\u`)) > 1 {
				t.Skip("of equal keys, either may count")
			}
		}
		checkReceive(t, data)
	})
}

type fataler interface{ Fatalf(string, ...any) }

// checkReceive holds Receive against a plain reading of the rules, and cuts
// the stream into reads in several ways, which must not matter.
func checkReceive(t fataler, data []byte) {
	readers := map[string]io.Reader{
		"whole":        bytes.NewReader(data),
		"byte by byte": iotest.OneByteReader(bytes.NewReader(data)),
		"halves":       iotest.HalfReader(bytes.NewReader(data)),
		"data and EOF": iotest.DataErrReader(bytes.NewReader(data)),
	}
	want := model(data)
	for name, r := range readers {
		c := ipc.NewConn(stream{r, io.Discard}, ipc.Options{MaxMessage: small})
		var got []string
		for range len(data) + 1 {
			m, err := c.Receive()
			var bad *ipc.MalformedError
			if errors.As(err, &bad) {
				got = append(got, "bad")
				continue
			}
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if m.Type == "" || len(m.Raw) >= small {
				t.Fatalf("%s: %q", name, m.Raw)
			}
			got = append(got, string(m.Raw))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%s of %q: %s", name, data, diff)
		}
		s := c.Stats()
		if s.Received+s.Malformed != uint64(len(got)) {
			t.Fatalf("%s: %+v for %d", name, s, len(got))
		}
	}
}

// model reads the rules without a care for memory or speed.
func model(data []byte) (out []string) {
	lines := bytes.SplitAfter(data, []byte("\n"))
	for _, line := range lines {
		whole := bytes.HasSuffix(line, []byte("\n"))
		text := bytes.TrimSuffix(line, []byte("\n"))
		switch {
		case len(line) == 0:
		case len(text) >= small || !whole:
			out = append(out, "bad")
		case len(bytes.TrimSpace(text)) == 0:
		default:
			if verdict := modelLine(text); verdict != "" {
				out = append(out, verdict)
			}
		}
	}
	return out
}

func modelLine(text []byte) string {
	var keys map[string]any
	if json.Unmarshal(text, &keys) != nil {
		return "bad"
	}
	if kind, ok := keys["type"].(string); ok && kind != "" {
		return string(text)
	}
	if cmd, ok := keys["cmd"].(string); ok && strings.HasPrefix(cmd, "NODE_") {
		return ""
	}
	return "bad"
}

// FuzzScan holds our one pass against encoding/json.
func FuzzScan(f *testing.F) {
	for _, seed := range []string{
		"", " ", `{}`, `[]`, `{"type":"a"}`, ` { "a" : [ 1 , { } , [ ] ] , "type" : "b" } `, `{"type":"\u0061\ud83d\ude00\n"}`, `{"ty\u0070e":"c"}`,
		`-0.5e+7`, `01`, `1.`, `.5`, `-`, `1e`, `"\x"`, `"\u12g4"`, "\"\x1f\"", "\"\xff\"", `tru`, `true false`, `{"a"}`, `{"a":}`, `{,}`, `[1,]`, `{"a":1,}`,
		`{"type":"","type":7,"type":{"type":"x"},"type":"d","type":"e"}`, `{"cmd":"NODE_X","type":null}`, "\x00", `"`, `"\`, `{"a`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, line []byte) { checkScan(t, line) })
}

func checkScan(t fataler, line []byte) {
	kind, internal, valid := ipc.Scan(line)
	if want := json.Valid(line); valid != want {
		t.Fatalf("%q: valid %t, want %t", line, valid, want)
	}
	if !valid {
		return
	}
	wantKind, wantInternal := tokens(line)
	if kind != wantKind || kind == "" && internal != wantInternal {
		t.Fatalf("%q: %q, %t, want %q, %t", line, kind, internal, wantKind, wantInternal)
	}
}

// tokens walks the keys of a valid JSON text by means of encoding/json.
func tokens(line []byte) (kind string, internal bool) {
	dec := json.NewDecoder(bytes.NewReader(line))
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		return "", false
	}
	for dec.More() {
		key, err := dec.Token()
		var raw json.RawMessage
		if err = errors.Join(err, dec.Decode(&raw)); err != nil {
			return "error: " + err.Error(), false
		}
		var value string
		if json.Unmarshal(raw, &value) != nil {
			continue
		}
		if key == "type" && value != "" {
			return value, false
		}
		internal = internal || key == "cmd" && strings.HasPrefix(value, "NODE_")
	}
	return "", internal
}

func TestScanOfDeepNesting(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 9_999, 10_000, 10_001, 400_000} {
		checkScan(t, []byte(strings.Repeat("[", n)+strings.Repeat("]", n)))
		checkScan(t, []byte(strings.Repeat(`{"a":`, n)+"1"+strings.Repeat("}", n)))
		checkScan(t, []byte(strings.Repeat("[", n)))
	}
}

func TestReceiveProperty(t *testing.T) {
	t.Parallel()
	line := rapid.OneOf(
		rapid.SampledFrom([]string{
			`{"type":"run"}`, `{"a":[1,{"b":2}],"type":"run"}`, `{"type":"x","b":"\n"}`, `{"cmd":"NODE_A"}`, `{"type":1}`,
			`{}`, `[]`, ``, ` `, `{"type":"run"`, `"type"`, "\x00", "\xff", "{\"type\":\"\xff\"}",
		}),
		rapid.Map(rapid.IntRange(small-4, 3*small), func(n int) string { return strings.Repeat("y", n) }),
		rapid.Map(rapid.IntRange(0, small), func(n int) string { return `{"type":"p","q":"` + strings.Repeat("z", n) + `"}` }),
	)
	rapid.Check(t, func(t *rapid.T) {
		lines := rapid.SliceOfN(line, 0, 12).Draw(t, "lines")
		data := strings.Join(lines, "\n")
		if rapid.Bool().Draw(t, "whole") {
			data += "\n"
		}
		checkReceive(t, []byte(data))
	})
}
