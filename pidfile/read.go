package pidfile

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"strconv"
)

// State tells who has a path.
type State int

// The states that [Read] tells apart; they are drawn in the package comment.
const (
	Absent State = iota // there is no file, and no holder
	Stale               // there is a file, but nobody holds it: its last holder did not end well
	Held                // a living process holds it
)

// String returns "absent", "stale" or "held".
func (s State) String() string {
	switch s {
	case Absent:
		return "absent"
	case Stale:
		return "stale"
	case Held:
		return "held"
	default:
		return "State(" + strconv.Itoa(int(s)) + ")"
	}
}

// Info is what [Read] found.
type Info struct {
	State State

	// PID is the holder's, as it wrote it, or 0 if it has not written it yet. In state Stale it is what the file says,
	// which may belong to a stranger by now, or 0 if it says nothing of use. In state Absent it is 0.
	PID int
}

// Read tells who has path. It needs permission to read the file and nothing else, and changes neither the file nor the
// chances of a process that wants to take it.
//
// A file that was just created is Stale, with PID 0, until its maker has locked it a moment later.
//
// A holder that belongs to another user is still a holder: no signal is sent to find out. What is not a regular file is
// an error, an [*fs.PathError].
func Read(path string) (Info, error) {
	info, err := read(path)
	if err != nil {
		return Info{}, fmt.Errorf("read pid file: %w", err)
	}
	return info, nil
}

func read(path string) (Info, error) {
	for range maxTries {
		info, settled, err := look(path)
		if err != nil || settled {
			return info, err
		}
	}
	return Info{}, &fs.PathError{Op: "read", Path: path, Err: errUnsettled}
}

// look reads once. It is not settled if the file changed hands meanwhile.
func look(path string) (info Info, settled bool, err error) {
	f, err := open(path, os.O_RDONLY)
	if os.IsNotExist(err) {
		return Info{State: Absent}, true, nil
	}
	if err != nil {
		return Info{}, false, err
	}
	defer f.Close()

	before, err := number(f)
	if err != nil {
		return Info{}, false, err
	}
	held, numbered, err := probe(f)
	if err != nil {
		return Info{}, false, &fs.PathError{Op: "probe", Path: path, Err: err}
	}
	after, err := number(f)
	if err != nil {
		return Info{}, false, err
	}
	switch {
	case !held:
		info = Info{State: Stale, PID: before}
	case !numbered:
		info = Info{State: Held}
	case before != after:
		// One holder died, and the next one wrote its number, around the probe.
		return Info{}, false, nil
	default:
		info = Info{State: Held, PID: after}
	}
	// If the path leads elsewhere by now, what we have looked at was removed by its holder.
	settled, err = isAt(f, path)
	return info, settled, err
}

// heldBy returns the number of the process that holds f, or 0 if it cannot be told.
func heldBy(f *os.File) int {
	before, err := number(f)
	if err != nil {
		return 0
	}
	_, numbered, err := probe(f)
	if err != nil || !numbered {
		return 0
	}
	if after, err := number(f); err != nil || after != before {
		return 0
	}
	return before
}

// maxNumber is longer than any pid and its newline, so that a longer text cannot pass for one.
const maxNumber = 16

// number returns the pid that f says, or 0 if what it says is not exactly what Write writes.
func number(f *os.File) (int, error) {
	buf := make([]byte, maxNumber)
	n, err := f.ReadAt(buf, 0)
	if err != nil && err != io.EOF {
		return 0, err
	}
	digits, ok := bytes.CutSuffix(buf[:n], []byte("\n"))
	if !ok || len(digits) == 0 || digits[0] < '1' || digits[0] > '9' {
		return 0, nil
	}
	pid, err := strconv.ParseUint(string(digits), 10, 64)
	if err != nil || pid > math.MaxInt32 {
		return 0, nil
	}
	return int(pid), nil
}
