package worker

import (
	"errors"

	"github.com/poppobuilder/poppobuilder/procworker/ipc"
)

// A received is a message, or the report of a line that is none.
type received struct {
	ipc.Message
	err error
}

// An inbox receives messages in a goroutine of its own.
type inbox struct {
	messages chan received // closed at the channel's end
	err      error         // why it ended; readable after that

	ch   Channel
	stop chan struct{}
}

func receive(ch Channel) *inbox {
	in := &inbox{messages: make(chan received), ch: ch, stop: make(chan struct{})}
	go in.loop()
	return in
}

func (in *inbox) loop() {
	defer close(in.messages)
	for {
		m, err := in.ch.Receive()
		var malformed *ipc.MalformedError
		if err != nil && !errors.As(err, &malformed) {
			in.err = err
			return
		}
		select {
		case in.messages <- received{m, err}:
		case <-in.stop:
			return
		}
	}
}

// close closes the channel and waits for the goroutine.
func (in *inbox) close() {
	close(in.stop)
	_ = in.ch.Close()
	for range in.messages {
	}
}
