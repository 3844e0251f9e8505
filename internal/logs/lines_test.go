package logs_test

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"github.com/poppobuilder/poppobuilder/internal/logs"
)

func ExampleNewLines() {
	l := logs.NewLines(os.Stdout, 0)
	l.Write([]byte("half a "))
	l.Write([]byte("line\nand one without an end"))
	l.Close()
	// Output:
	// half a line
	// and one without an end
}

// sink keeps each Write, and fails the first so many.
type sink struct {
	writes   []string
	failures int
}

func (s *sink) Write(p []byte) (int, error) {
	if s.failures > 0 {
		s.failures--
		return 0, errors.New("sink failed")
	}
	s.writes = append(s.writes, string(p))
	return len(p), nil
}

func TestLines(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		max    int
		writes []string
		want   []string
	}{
		{"whole lines in one write", 10, []string{"a\nb\n"}, []string{"a\nb\n"}},
		{"half lines", 10, []string{"a", "b\nc", "\n"}, []string{"ab\n", "c\n"}},
		{"no newline at the end", 10, []string{"a\nb"}, []string{"a\n", "b\n"}},
		{"just the maximum", 4, []string{"abcd\n", "ef", "gh", "\n"}, []string{"abcd\n", "efgh\n"}},
		{"too long", 4, []string{"abcdefghij\n"}, []string{"abcd\n", "efgh\n", "ij\n"}},
		{"too long by one, no newline", 4, []string{"abcde"}, []string{"abcd\n", "e\n"}},
		{"not inside a character", 4, []string{"abcé€\n"}, []string{"abc\n", "é\n", "€\n"}},
		{"no UTF-8", 4, []string{"\x80\x80\x80\x80\x80\x80\n"}, []string{"\x80\x80\x80\x80\n", "\x80\x80\n"}},
		{"empty lines", 4, []string{"\n\n"}, []string{"\n\n"}},
		{"nothing", 4, []string{""}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got sink
			l := logs.NewLines(&got, tt.max)
			for _, p := range tt.writes {
				if n, err := l.Write([]byte(p)); n != len(p) || err != nil {
					t.Errorf("write %q: got %d, %v", p, n, err)
				}
			}
			if err := l.Close(); err != nil {
				t.Error(err)
			}
			if !slices.Equal(got.writes, tt.want) {
				t.Errorf("got %q, want %q", got.writes, tt.want)
			}
		})
	}
}

func TestLinesGoesOnAfterTheSinkFailed(t *testing.T) {
	t.Parallel()
	s := sink{failures: 1}
	l := logs.NewLines(&s, 0)
	if n, err := l.Write([]byte("lost\n")); n != 5 || err == nil {
		t.Errorf("got %d, %v, want 5 and the sink's error", n, err)
	}
	if _, err := l.Write([]byte("kept\n")); err != nil {
		t.Error(err)
	}
	if want := []string{"kept\n"}; !slices.Equal(s.writes, want) {
		t.Errorf("got %q, want %q", s.writes, want)
	}
}

func TestLinesKeepsEveryByte(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		in := rapid.SliceOfN(rapid.SampledFrom([]byte("ab\n\xc3\xa9")), 0, 200).Draw(t, "in")
		limit := rapid.IntRange(4, 20).Draw(t, "max")
		var out sink
		l := logs.NewLines(&out, limit)
		r := iotest.OneByteReader(bytes.NewReader(in))
		if rapid.Bool().Draw(t, "whole") {
			_, _ = l.Write(in)
		} else if _, err := bytes.NewBuffer(nil).ReadFrom(r); err == nil {
			for i := range in {
				_, _ = l.Write(in[i : i+1])
			}
		}
		_ = l.Close()
		got := strings.Join(out.writes, "")
		if strip(got) != strip(string(in)) {
			t.Fatalf("got %q of %q", got, in)
		}
		for line := range strings.Lines(got) {
			if !strings.HasSuffix(line, "\n") || len(line) > limit+1 {
				t.Fatalf("line %q with a limit of %d", line, limit)
			}
		}
	})
}

func strip(s string) string { return strings.ReplaceAll(s, "\n", "") }
