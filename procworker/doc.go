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
// time.
//
// # What is promised on which system
//
// Everywhere but on Windows, which is not supported yet ([errors.ErrUnsupported]),
// a child leads a process group of its own, and the group has got SIGKILL
// before Serve returns, however the child ended. A child with a channel sees
// its end when this process is gone.
//
// Linux adds:
//   - When this process dies, by SIGKILL too, the child gets SIGKILL, or what
//     [Worker.DeathSignal] says. (Not what the child has started, and not a
//     child that has changed its user id: prctl(2), PR_SET_PDEATHSIG.) For
//     this, every start happens on one operating-system thread that lives as
//     long as the process; the goroutine on it is the only one that outlives
//     Serve.
//   - Signals never meet a recycled process id: the group is signalled before
//     the child is reaped.
//   - No member of the group is alive when Serve returns, except for those
//     that have become another user whom this process may not signal (sudo).
//   - When the whole tree is killed, so are the descendants that have left
//     the group but still hang below the child.
//   - With [Subreaper], neither are those that have left the group, the
//     session and their parents (setsid, double fork) alive when Serve returns.
//     They are known by a random variable, POPPOBUILDER_SPAWN, in their
//     environment, which a child that uses this package hands on: a descendant
//     that has cleared its environment as well, or whose environment this
//     process may not read, escapes.
//
// On macOS and FreeBSD a descendant that leaves the group survives.
package procworker
