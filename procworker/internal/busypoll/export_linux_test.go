package busypoll

import "time"

// EagerAfter reports whether a reader looks before it sleeps, once it has waited
// for so long.
func EagerAfter(waited time.Duration) bool {
	f := fast{since: time.Now().Add(-waited), eager: waited > time.Minute}
	f.arrived()
	return f.eager
}

// Crowd makes it known that somebody else wants the processor, or not any more.
func Crowd(yes bool) {
	lookAgain.Store(0)
	if yes {
		lookAgain.Store(int64(time.Since(start) + crowded))
	}
}

// IsFast reports whether the file is more than its file.
func (f *File) IsFast() bool { return f.canRead() }
