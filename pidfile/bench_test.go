//go:build unix

package pidfile_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/poppobuilder/poppobuilder/pidfile"
)

// Take a path and give it back, the file created and removed each time.
func BenchmarkCreateClose(b *testing.B) {
	p := filepath.Join(b.TempDir(), "daemon.pid")
	b.ReportAllocs()
	for b.Loop() {
		f, err := pidfile.Create(p)
		if err != nil {
			b.Fatal(err)
		}
		if err := f.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// Find out who holds a path.
func BenchmarkRead(b *testing.B) {
	p := filepath.Join(b.TempDir(), "daemon.pid")
	f, err := pidfile.Create(p)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := pidfile.Read(p); err != nil {
			b.Fatal(err)
		}
	}
}

// The least that any pid file costs: create, write, remove, close. For comparison with BenchmarkCreateClose.
func BenchmarkBareFile(b *testing.B) {
	p := filepath.Join(b.TempDir(), "daemon.pid")
	for b.Loop() {
		f, err := os.Create(p)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := f.WriteString("12345\n"); err != nil {
			b.Fatal(err)
		}
		if err := os.Remove(p); err != nil {
			b.Fatal(err)
		}
		if err := f.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
