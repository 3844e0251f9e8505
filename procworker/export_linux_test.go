package procworker

// OpenCgroupsIn makes a place in any cgroup.
func OpenCgroupsIn(base, name string) (*Cgroups, error) { return openCgroupsIn(base, name) }

// FindCgroup reads /proc/self/cgroup and /proc/self/mountinfo.
func FindCgroup(membership, mounts string) (string, error) { return findCgroup(membership, mounts) }

// Weaken switches off all that kills more than the child itself.
func (w *Worker) Weaken() { w.weak = true }
