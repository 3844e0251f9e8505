package config_test

import (
	"testing"

	"github.com/poppobuilder/poppobuilder/internal/config"
)

// The cost that a start-up and each reload pays.
func BenchmarkLoad(b *testing.B) {
	file := write(b, ancestors)
	for b.Loop() {
		if _, err := config.Load(config.Options{File: file, Environ: []string{}}); err != nil {
			b.Fatal(err)
		}
	}
}
