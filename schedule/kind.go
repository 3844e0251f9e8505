package schedule

import (
	"fmt"
	"slices"
	"strings"
)

// A Kind names a policy. Its zero value is [RoundRobin]. Its text form, also in
// JSON and flags, is what [Kind.String] returns and [Parse] takes.
type Kind int

const (
	// RoundRobin serves whoever has waited longest.
	RoundRobin Kind = iota

	// Priority serves the highest priority first and equal ones in turn; what
	// waits gains a level every [DefaultAging] turns.
	Priority

	// Weighted gives each lane turns in proportion to its weight.
	Weighted

	// Fair gives each lane time in proportion to its weight.
	Fair
)

// kinds holds the name of each Kind at its index.
func kinds() []string { return []string{"round-robin", "priority", "weighted", "fair"} }

// Names returns the names that [Parse] takes, in the order of their kinds.
func Names() []string { return kinds() }

// Parse returns the kind of that name. The error lists the names there are.
func Parse(name string) (Kind, error) {
	if i := slices.Index(kinds(), name); i >= 0 {
		return Kind(i), nil
	}
	return 0, fmt.Errorf("unknown scheduling strategy %q: use one of %s", name, strings.Join(kinds(), ", "))
}

// String returns the kind's name, for example "round-robin".
func (k Kind) String() string {
	if !k.valid() {
		return fmt.Sprintf("Kind(%d)", int(k))
	}
	return kinds()[k]
}

// MarshalText returns the kind's name.
func (k Kind) MarshalText() ([]byte, error) {
	if !k.valid() {
		return nil, fmt.Errorf("scheduling strategy %d has no name", int(k))
	}
	return []byte(k.String()), nil
}

// UnmarshalText takes what [Parse] takes.
func (k *Kind) UnmarshalText(text []byte) error {
	parsed, err := Parse(string(text))
	if err != nil {
		return err
	}
	*k = parsed
	return nil
}

// New returns an empty strategy of this kind. It panics if k is none of the
// package's constants.
func (k Kind) New() Strategy {
	switch k {
	case RoundRobin:
		return newRoundRobin()
	case Priority:
		return NewPriority(DefaultAging)
	case Weighted:
		return newWeighted()
	case Fair:
		return newFair()
	}
	panic("schedule: New of " + k.String())
}

func (k Kind) valid() bool { return k >= 0 && int(k) < len(kinds()) }
