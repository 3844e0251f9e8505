package busypoll

import "time"

// EagerAfter reports whether a reader looks again, before it sleeps, once it
// has slept for so long.
func EagerAfter(slept time.Duration) bool {
	f := fast{asleep: time.Now().Add(-slept), eager: slept > time.Minute}
	f.awake()
	return f.eager
}

// IsFast reports whether the file is more than its file.
func (f *File) IsFast() bool { return f.canRead() }
