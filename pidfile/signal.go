package pidfile

import (
	"context"
	"errors"
	"fmt"
	"os"
)

// maxSignalTries bounds how often Signal starts again because the holder ended or changed under it.
const maxSignalTries = 10

// Signal sends sig to the process that holds path and to nobody else, and returns its pid.
//
// If nobody holds path, the error is a [*NotHeldError], which tells an absent file from a stale one; if the holder has
// not written its number yet, it is [ErrStarting]. If the system refuses the signal, the error wraps its reason and the
// pid is returned beside it: the holder is alive, but belongs to another user ([fs.ErrPermission]).
//
// On Linux a pid that is reused in the middle of the call cannot lead the signal astray: the process is pinned by a
// pidfd (pidfd_open(2)) before its hold is checked for the second time. Elsewhere an instant between that check and the
// signal remains.
func Signal(path string, sig os.Signal) (pid int, err error) {
	for range maxSignalTries {
		info, err := holder(path)
		if err != nil {
			return 0, err
		}
		done, err := signalHolder(path, info, sig)
		if err != nil {
			return info.PID, fmt.Errorf("signal holder of pid file %s: process %d: %w", path, info.PID, err)
		}
		if done {
			return info.PID, nil
		}
	}
	return 0, fmt.Errorf("signal holder of pid file %s: %w", path, errChanging)
}

// holder returns what Read found if it can be signalled.
func holder(path string) (Info, error) {
	info, err := Read(path)
	switch {
	case err != nil:
		return Info{}, err
	case info.State != Held:
		return Info{}, &NotHeldError{Path: path, Info: info}
	case info.PID == 0:
		return Info{}, fmt.Errorf("signal holder of pid file %s: %w", path, ErrStarting)
	}
	return info, nil
}

// signalHolder sends sig to the process that want names, if it holds path after it has been pinned. If done is false
// and err nil, it does not, and nothing was sent.
func signalHolder(path string, want Info, sig os.Signal) (done bool, err error) {
	p, err := os.FindProcess(want.PID)
	if err != nil {
		return false, err
	}
	defer p.Release()
	got, err := Read(path)
	if err != nil {
		return false, err
	}
	if got != want {
		return false, nil
	}
	err = p.Signal(sig)
	if errors.Is(err, os.ErrProcessDone) {
		return false, nil
	}
	return err == nil, err
}

// Wait returns nil as soon as nobody holds path, and ctx.Err() if ctx ends before that. If one holder follows another
// so fast that the path is never seen free, it goes on waiting.
//
// On Linux it sleeps until the kernel tells it that a holder has closed the file, which its death does too, or that the
// file was changed (inotify(7)); without such news it looks again after 1 ms, 2 ms, 4 ms and so on up to a minute.
// Elsewhere, and where the kernel refuses to watch, it looks ten times a second.
func Wait(ctx context.Context, path string) error {
	w := newWatch()
	defer w.close()
	return wait(ctx, path, w)
}

func wait(ctx context.Context, path string, w *watch) error {
	for {
		// The watch is set before the look, so that nothing that happens after the look is missed.
		w.aim(path)
		info, err := Read(path)
		if err != nil {
			return err
		}
		if info.State != Held {
			return nil
		}
		if err := w.sleep(ctx); err != nil {
			return err
		}
	}
}
