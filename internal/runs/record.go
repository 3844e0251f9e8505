package runs

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"time"
)

// Every value in the file begins with a checksum of its key and of what
// follows, so that whatever is read was written so.

// sumSize is the length of the checksum.
const sumSize = 4

var errChecksum = errors.New("a checksum does not fit")

func checksum(key, payload []byte) uint32 {
	return crc32.Update(crc32.Update(0, castagnoli, key), castagnoli, payload)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// seal makes the value for a key.
func seal(key, payload []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, checksum(key, payload)), payload...)
}

// unseal returns the payload of the value of a key.
func unseal(key, value []byte) ([]byte, error) {
	if len(value) < sumSize || binary.BigEndian.Uint32(value) != checksum(key, value[sumSize:]) {
		return nil, errChecksum
	}
	return value[sumSize:], nil
}

// A record is a run as the file has it: JSON, with short names and numbers for
// times, because there may be very many. An unknown key is a later version's.
type record struct {
	ID       string   `json:"id"`
	Project  string   `json:"p"`
	Origin   string   `json:"o,omitempty"` // empty: its own id
	Attempt  int      `json:"a"`
	Failures int      `json:"n,omitempty"`
	Reason   Reason   `json:"r,omitempty"`
	ByHand   bool     `json:"h,omitempty"`
	State    State    `json:"s"`
	Args     []string `json:"args,omitempty"`

	QueuedAt   int64 `json:"tq"` // all in nanoseconds since 1970; 0: the zero time
	NotBefore  int64 `json:"tn,omitempty"`
	StartedAt  int64 `json:"ts,omitempty"`
	FinishedAt int64 `json:"tf,omitempty"`

	Worker *int  `json:"w,omitempty"`
	PID    int   `json:"pid,omitempty"`
	Exit   *Exit `json:"x,omitempty"`
}

// encode returns the value of a run under the given key.
func encode(key []byte, run *Run) ([]byte, error) {
	r := record{
		ID:         run.ID,
		Project:    run.Project,
		Origin:     run.Origin,
		Attempt:    run.Attempt,
		Failures:   run.Failures,
		Reason:     run.Reason,
		ByHand:     run.ByHand,
		State:      run.State,
		Args:       run.Args,
		QueuedAt:   nanos(run.QueuedAt),
		NotBefore:  nanos(run.NotBefore),
		StartedAt:  nanos(run.StartedAt),
		FinishedAt: nanos(run.FinishedAt),
		Worker:     run.Worker,
		PID:        run.PID,
	}
	if run.Origin == run.ID {
		r.Origin = ""
	}
	if run.Exit != (Exit{}) {
		r.Exit = &run.Exit
	}
	payload, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode run %s: %w", run.ID, err)
	}
	return seal(key, payload), nil
}

// decode returns the run in the value of a key.
func decode(key, value []byte) (Run, error) {
	payload, err := unseal(key, value)
	if err != nil {
		return Run{}, fmt.Errorf("read run %q: %w", key, err)
	}
	var r record
	if err := json.Unmarshal(payload, &r); err != nil {
		return Run{}, fmt.Errorf("read run %q: %w", key, err)
	}
	run := Run{
		ID:         r.ID,
		Project:    r.Project,
		Origin:     r.Origin,
		Attempt:    r.Attempt,
		Failures:   r.Failures,
		Reason:     r.Reason,
		ByHand:     r.ByHand,
		State:      r.State,
		Args:       r.Args,
		QueuedAt:   fromNanos(r.QueuedAt),
		NotBefore:  fromNanos(r.NotBefore),
		StartedAt:  fromNanos(r.StartedAt),
		FinishedAt: fromNanos(r.FinishedAt),
		Worker:     r.Worker,
		PID:        r.PID,
	}
	if run.Origin == "" {
		run.Origin = run.ID
	}
	if r.Exit != nil {
		run.Exit = *r.Exit
	}
	return run, nil
}

func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func fromNanos(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n)
}
