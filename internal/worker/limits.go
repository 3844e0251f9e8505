package worker

import (
	"errors"
	"fmt"
	"math"

	"github.com/poppobuilder/poppobuilder/procworker"
	"github.com/poppobuilder/poppobuilder/procworker/ipc"
)

// limits returns those of a run. To [procworker.Limits] 0 is no limit, and a
// negative value stands for 0.
func limits(spec ipc.RunSpec) procworker.Limits {
	value := func(p *int64) int64 {
		switch {
		case p == nil:
			return 0
		case *p == 0:
			return -1
		}
		return *p
	}
	small := func(p *int64) int { return int(min(max(value(p), math.MinInt32), math.MaxInt32)) }
	l := spec.Limits
	nice := 0
	if l.Nice != nil {
		nice = int(*l.Nice)
	}
	return procworker.Limits{
		NoFile: value(l.NoFile), NProc: value(l.NProc), Core: value(l.Core), AddressSpace: value(l.AddressSpace),
		Memory: value(l.Memory), PIDs: value(l.PIDs),
		Nice: nice, Umask: small(l.Umask),
	}
}

// contain makes the run's cgroup, if there is a place for it. The warning
// tells which limits nobody keeps for want of one: the run goes on without
// them.
func (w *worker) contain(spec ipc.RunSpec) (cgroup *procworker.Cgroup, warning string) {
	l := limits(spec)
	err := w.opts.Cgroups.Supports(l)
	if err != nil {
		warning = fmt.Sprintf("run %s goes on without limits that take a cgroup: %v; see \"Limits of a run\" in the README", spec.ID, err)
		l = l.OfProcess()
	}
	// Without these a cgroup of its own adds nothing: nobody escapes from this
	// process while it lives, nor from its own cgroup when it is killed.
	if w.opts.Cgroups == nil || l.Memory == 0 && l.PIDs == 0 {
		return nil, warning
	}
	cgroup, err = w.opts.Cgroups.Create(spec.ID, l)
	if err != nil && !errors.Is(err, errors.ErrUnsupported) {
		warning = fmt.Sprintf("run %s has no cgroup: %v", spec.ID, err)
	}
	return cgroup, warning
}
