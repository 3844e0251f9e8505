package project_test

import (
	"fmt"
	"testing"

	"github.com/poppobuilder/poppobuilder/internal/project"
)

func thousand(b *testing.B) project.Store {
	b.Helper()
	s := storeOf(b, "{}")
	mustUpdate(b, s, func(r *project.Registry) error {
		for i := range 1000 {
			if err := add(fmt.Sprint("p", i))(r); err != nil {
				return err
			}
		}
		return nil
	})
	return s
}

func BenchmarkLoadThousand(b *testing.B) {
	s := thousand(b)
	b.ReportAllocs()
	for b.Loop() {
		mustLoad(b, s)
	}
}

func BenchmarkUpdateOneOfThousand(b *testing.B) {
	s := thousand(b)
	n := 0
	for b.Loop() {
		n++
		mustUpdate(b, s, edit("p500", func(p *project.Project) { p.Config.Priority = n % 100 }))
	}
}
