package api_test

import (
	"testing"

	"github.com/poppobuilder/poppobuilder/internal/api"
)

// TestMergePatch has the examples of RFC 7396, appendix A, that patch an
// object by an object.
func TestMergePatch(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ target, patch, want string }{
		{`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`},
		{`{"a":"b"}`, `{"a":null}`, `{}`},
		{`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`},
		{`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`},
		{`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`},
		{`{"a":[{"b":"c"}]}`, `{"a":[1]}`, `{"a":[1]}`},
		{`{"e":null}`, `{"a":1}`, `{"a":1,"e":null}`},
		{`{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`},
		{`{"a":[1]}`, `{"a":{"b":2}}`, `{"a":{"b":2}}`},
		{`{"a":null}`, `{"a":{"b":2}}`, `{"a":{"b":2}}`},
		{`{"a":12345678901234567890}`, `{"b":1.0}`, `{"a":12345678901234567890,"b":1.0}`}, // numbers stay as written
	} {
		got, err := api.MergePatch(tt.target, tt.patch)
		if got != tt.want || err != nil {
			t.Errorf("%s patched by %s: got %s, %v, want %s", tt.target, tt.patch, got, err, tt.want)
		}
	}
}
