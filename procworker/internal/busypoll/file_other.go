//go:build !linux

package busypoll

import "os"

// New returns the File of file, which it owns from then on.
func New(file *os.File) *File { return &File{File: file} }

type fast struct{}

func (fast) canRead() bool                           { return false }
func (fast) canWrite() bool                          { return false }
func (fast) read(f *os.File, b []byte) (int, error)  { return f.Read(b) }
func (fast) write(f *os.File, b []byte) (int, error) { return f.Write(b) }
