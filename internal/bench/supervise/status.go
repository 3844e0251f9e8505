package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"time"
)

// A state is what is told of a copy.
type state struct {
	Name     string `json:"name"`
	State    string `json:"state"`
	PID      int    `json:"pid"` // 0: there is none
	Restarts int    `json:"restarts"`
	LastExit string `json:"lastExit,omitempty"`
	Dropped  uint64 `json:"dropped"` // bytes of output
}

func (r *replica) state() state {
	s, w := r.restarter.Status(), r.worker.Snapshot()
	now := state{Name: s.Name, State: s.State.String(), PID: w.PID, Restarts: s.Restarts, Dropped: w.DroppedOutput}
	if r.log != nil {
		now.Dropped += uint64(r.log.Stats().DroppedBytes)
	}
	if e := w.LastExit; e != nil {
		switch {
		case e.Signal != "":
			now.LastExit = e.Signal
		case e.PID == 0:
			now.LastExit = e.Err
		default:
			now.LastExit = fmt.Sprintf("code %d", e.Code)
		}
	}
	return now
}

// answerTime bounds how long somebody who asks may take to listen.
const answerTime = 5 * time.Second

// answer tells everybody who connects the states, one JSON object a line.
func answer(l net.Listener, fleet []*replica, done chan<- struct{}) {
	defer close(done)
	for {
		conn, err := l.Accept()
		if err != nil {
			return // it is closed
		}
		_ = conn.SetWriteDeadline(time.Now().Add(answerTime))
		w := bufio.NewWriter(conn)
		for _, r := range fleet {
			_ = json.NewEncoder(w).Encode(r.state())
		}
		_ = w.Flush()
		_ = conn.Close()
	}
}

// states asks at a socket.
func states(socket string) ([]state, error) {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	var all []state
	for d := json.NewDecoder(conn); ; {
		var s state
		switch err := d.Decode(&s); err {
		case nil:
			all = append(all, s)
		case io.EOF:
			return all, nil
		default:
			return nil, err
		}
	}
}

// ask prints the states.
func ask(socket string, out io.Writer) error {
	all, err := states(socket)
	if err != nil {
		return fmt.Errorf("ask for the status: %w", err)
	}
	for _, s := range all {
		if _, err := fmt.Fprintf(out, "%s %s pid=%d restarts=%d last=%q dropped=%d\n", s.Name, s.State, s.PID, s.Restarts, s.LastExit, s.Dropped); err != nil {
			return err
		}
	}
	return nil
}
