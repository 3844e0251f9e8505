package ipc

import "time"

// LooksAfter is how often a reader looks again, before it sleeps, once it has
// slept for so long.
func LooksAfter(slept time.Duration) int {
	s := socket{asleep: time.Now().Add(-slept), looks: 1}
	s.awake()
	return s.looks
}
