// Package ipc is the channel between a supervisor and its worker processes:
// one JSON object a line, each with a string "type", over a socketpair that
// the worker finds on an inherited descriptor.
//
// A worker program written in Go:
//
//	conn, err := ipc.FromEnv()
//	if err != nil {
//		return err
//	}
//	defer conn.Close()
//	if err := conn.Send(ctx, ipc.Ready{Protocol: ipc.Version, PID: os.Getpid()}); err != nil {
//		return err
//	}
//	for {
//		m, err := conn.Receive()
//		if malformed := (*ipc.MalformedError)(nil); errors.As(err, &malformed) {
//			continue // one bad line, the channel goes on
//		}
//		if err != nil {
//			return err // io.EOF: the other side is gone
//		}
//		switch m.Type {
//		case "run":
//			var run ipc.Run
//			if err := m.Decode(&run); err != nil { ... }
//		case "shutdown":
//			return nil
//		}
//	}
//
// The same channel is Node.js's own: a script that was started with
// [EnvNodeFD] talks over it with process.send and process.on('message'). A
// shell writes with echo >&3 and reads with read <&3.
//
// # What a receiver survives
//
// A line that is not a JSON object with a string "type", that is longer than
// [MaxMessage], or that ends with the channel and not with a newline, is
// reported as a [*MalformedError] and counted, and the next line is read as
// if nothing had happened. Memory for one line is bounded by [MaxMessage]
// whatever the other side sends. Empty lines are skipped. Node's internal
// messages, whose "cmd" begins with "NODE_", are skipped and counted.
//
// # What a sender promises
//
// A message is sent as one whole line or not at all. Where that promise
// breaks, because the time was up or the channel ended in the middle of a
// line, the sending half is closed for good ([ErrTorn]): no line is ever
// glued to half of another one.
//
// # Slow readers
//
// Between the two sides is what the kernel keeps for a socket, about 200 kB.
// While it is full, [Conn.Send], for what must arrive, waits until its
// context is done; [Conn.Post], for figures, waits for nothing, and keeps the
// latest message of each type. What either has handed to the kernel is
// delivered also after this side has died.
package ipc
