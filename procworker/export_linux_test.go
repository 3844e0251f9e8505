package procworker

import (
	"context"
	"syscall"
)

// OpenCgroupsIn makes a place in any cgroup.
func OpenCgroupsIn(base, name string) (*Cgroups, error) { return openCgroupsIn(base, name) }

// FindCgroup reads /proc/self/cgroup and /proc/self/mountinfo.
func FindCgroup(membership, mounts string) (string, error) { return findCgroup(membership, mounts) }

// Weaken switches off all that kills more than the child itself.
func (w *Worker) Weaken() { w.weak = true }

// OccupySpawner keeps every start waiting for its turn, until release.
func OccupySpawner() (release func()) {
	reply := make(chan forkReply) // without room: the spawner waits until it is read
	spawner() <- forkRequest{ctx: context.Background(), l: &launch{path: "/"}, attr: new(syscall.ProcAttr), reply: reply}
	return func() { <-reply }
}
