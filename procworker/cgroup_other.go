//go:build !linux

package procworker

import "errors"

var errNoController = errors.New("there is no cgroup that keeps it")

// Cgroups are not supported on this system.
type Cgroups struct{}

// OpenCgroups is not supported on this system: the error is
// [errors.ErrUnsupported].
func OpenCgroups(string) (*Cgroups, error) { return nil, errors.ErrUnsupported }

// Path returns "".
func (*Cgroups) Path() string { return "" }

// Close does nothing.
func (*Cgroups) Close() error { return nil }

// Supports returns a [*LimitsError] if there is a limit that takes a cgroup.
func (*Cgroups) Supports(l Limits) error {
	switch {
	case l.Memory != 0:
		return &LimitsError{"memory", errNoController}
	case l.PIDs != 0:
		return &LimitsError{"pids", errNoController}
	}
	return nil
}

// Create is not supported on this system.
func (*Cgroups) Create(string, Limits) (*Cgroup, error) { return nil, errors.ErrUnsupported }

// A Cgroup does not exist on this system.
type Cgroup struct{}

// FD returns -1.
func (*Cgroup) FD() int { return -1 }

// Path returns "".
func (*Cgroup) Path() string { return "" }

// Kill is not supported on this system.
func (*Cgroup) Kill() error { return errors.ErrUnsupported }

// OOMKills returns 0.
func (*Cgroup) OOMKills() int { return 0 }

// Close does nothing.
func (*Cgroup) Close() error { return nil }

// KillCgroup is not supported on this system.
func KillCgroup(string) error { return errors.ErrUnsupported }
