// Package procworker runs one child process as a service: it starts it, knows
// when it is ready, talks to it, stops it politely, and leaves nothing of it
// behind.
//
//	w := &procworker.Worker{
//		Command: []string{"node", "worker.js"},
//		IPC:     true,
//		OnMessage: func(generation uint64, m ipc.Message) {
//			fmt.Println(m.Type)
//		},
//		Stop: procworker.Stop{Message: ipc.Shutdown{TimeoutMS: 5000}, Grace: 2 * time.Second},
//	}
//	err := w.Serve(ctx) // starts it; returns when it has ended, or was stopped because ctx is done
//
// [Worker.Serve] runs the child once. Whoever wants it restarted calls Serve
// again, or hands the Worker to a supervisor: it has the shape of a suture
// service.
//
// # Generations
//
// Each start is a generation with a number of its own, counted from 1. The
// messages that [Worker.OnMessage] gets carry it, and [Worker.SendTo] sends
// to that generation only, so an answer never reaches a successor of the
// process that asked.
//
// # How a child is stopped
//
// The polite message if there is one, then a signal to its process group,
// then SIGKILL to its whole tree; see [Stop]. With the first two goes SIGCONT,
// because a stopped process reads nothing and ignores SIGTERM. [Worker.Kill] skips to the last step at any
// time. A signal that this process ignores, as SIGHUP below nohup, the child ignores
// as well, until it says otherwise (execve(2)); one that it has asked for with
// [signal.Notify] it does not.
//
// # Ready
//
// A child is ready at once, by a message, by a datagram as sd_notify(3) has
// it, by a line of its output, or by a TCP port that answers: see [ReadyMode].
//
// # Limits
//
// [Limits] are put on a child while the kernel holds it at the end of its
// execve(2) (ptrace(2), prlimit(2)), so they are in force before its first
// instruction and never were this process's own. It costs no further program.
// A child whose program is set-uid does not get its rights that way, and is
// refused. A signal from outside that hits the child in the moment before its
// execve holds the start up until somebody continues or kills it.
//
// # What is promised on which system
//
// Not on Windows, which is not supported yet: [errors.ErrUnsupported].
//
//	what is alive when Serve has returned    cgroup   subreaper   Linux   macOS, FreeBSD
//	the child                                no       no          no      no
//	its process group                        no       no          no      no (1)
//	what left the group, below the child     no       no          no (2)  yes
//	what left group, session and parents     no       no          yes     yes
//	and has cleared its environment, too     no       yes (3)     yes     yes
//	when this process is killed
//	the child                                no (4)   no          no      when its channel ends
//	what it has started                      yes (5)  yes         yes     yes
//
//	(1) It has got SIGKILL; whether it is dead by then is not waited for.
//	(2) When the tree is killed, that is at the end of a stop that is not
//	    heeded, or by Kill. If the child just ends, as in the next line.
//	(3) [KillOrphans] gets it at the end of the program.
//	(4) It gets SIGKILL, or what [Worker.DeathSignal] says, unless it has changed
//	    its user id (prctl(2), PR_SET_PDEATHSIG). For this, all starts happen on
//	    threads that live as long as the process; the goroutines on them are the
//	    only ones that outlive Serve.
//	(5) Until [OpenCgroups] is called with that name again, or until somebody
//	    calls [KillCgroup] with [Cgroups.Path].
//
// "cgroup" is a Worker with [Worker.Cgroups], "subreaper" a process that has
// called [Subreaper]; both at once give the better of each.
//
// Everywhere a child leads a process group of its own, which has got SIGKILL
// before Serve returns, however the child ended, and a child with a channel sees
// its end when this process is gone. On Linux, signals never meet a recycled
// process id: the group is signalled before the child is reaped, and single
// processes through pidfds. What has become another user whom this process may not
// signal (sudo) is ended by the cgroup only. A process that does not die of
// SIGKILL within 10 s, because it waits for a disk or is traced from outside, is
// not waited for any longer, unless it is the child itself. A subreaper knows its
// own by a random variable, POPPOBUILDER_SPAWN, in the environment, which a child
// that uses this package hands on. Who has made its environment unreadable counts
// as one that has cleared it: by PR_SET_DUMPABLE (prctl(2)), by unmapping it, or
// by becoming another user below a process without CAP_SYS_PTRACE, which Docker
// withholds by default.
package procworker
