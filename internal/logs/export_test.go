package logs

import (
	"os"
	"testing"
	"time"
)

// WaitCompressed waits until there is nothing more to compress.
func (w *Writer) WaitCompressed() { w.done.Wait() }

// SetNow lets the Writer take the time from now.
func (w *Writer) SetNow(now func() time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = now
}

// KnowsBirth reports whether the file system tells when a file was made.
func KnowsBirth(t *testing.T, path string) bool {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	_, ok := birth(file, info)
	return ok
}
