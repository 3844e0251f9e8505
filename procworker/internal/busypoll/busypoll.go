// Package busypoll reads pipes and sockets with fewer sleeps.
//
// A goroutine that waits in the runtime's poller costs, each time, a read in
// vain, two looks of epoll and some wake-ups, on its own side and on that of
// the process that writes: more than the message itself. While data comes
// thick and fast a [File] therefore first gives way to other processes a few
// times, for at most 100 us, and looks again, and only then sleeps in the
// poller. Where data comes rarely it sleeps at once. This is what
// SO_BUSY_POLL is to a network, and what a mutex does before it sleeps.
//
// On systems other than Linux a File is its file.
package busypoll

import "os"

// A File is an open pipe or stream socket. Of all else, and of what is not in
// the runtime's poller, it is the file itself. One goroutine may read while
// another one writes.
type File struct {
	*os.File
	fast // how it is read and written
}

// Read reads as the file does.
func (f *File) Read(b []byte) (int, error) {
	if f.canRead() && len(b) > 0 {
		return f.read(f.File, b)
	}
	return f.File.Read(b)
}

// Write writes as the file does.
func (f *File) Write(b []byte) (int, error) {
	if f.canWrite() {
		return f.write(f.File, b)
	}
	return f.File.Write(b)
}
