package logs_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/poppobuilder/poppobuilder/internal/logs"
)

func BenchmarkWriter(b *testing.B) {
	line := []byte(strings.Repeat("x", 99) + "\n")
	for name, limits := range map[string]logs.Limits{
		"plain":    {},
		"rotating": {MaxSize: 10 << 20, MaxFiles: 3},
	} {
		b.Run(name, func(b *testing.B) {
			w := open(b, filepath.Join(b.TempDir(), "a.log"), limits)
			b.SetBytes(int64(len(line)))
			b.ReportAllocs()
			for b.Loop() {
				_, _ = w.Write(line)
			}
		})
	}
}

// BenchmarkLines is what a program's output goes through: chunks as a pipe
// gives them, to a file.
func BenchmarkLines(b *testing.B) {
	chunk := []byte(strings.Repeat(strings.Repeat("x", 99)+"\n", 400)[:32<<10])
	l := logs.NewLines(open(b, filepath.Join(b.TempDir(), "a.log"), logs.Limits{MaxSize: 10 << 20, MaxFiles: 3}), 0)
	b.SetBytes(int64(len(chunk)))
	b.ReportAllocs()
	for b.Loop() {
		_, _ = l.Write(chunk)
	}
}
