package keeper

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Supported reports whether this system has keepers.
const Supported = true

// Hunt kills all processes that carry the cookie, what is below them, and who
// is in their groups, and returns when there are none. It stops them first:
// what can run can start more between the look and the kill.
//
// The error tells what could not be killed, or that /proc cannot be read.
func Hunt(ctx context.Context, cookie string) (killed int, err error) {
	h := hunter{cookie: cookie, dead: make(map[string]bool), immune: make(map[string]bool), stopped: make(map[string]int)}
	// A process that appears while the list is read may be missing in it, so
	// only two looks without prey are the end.
	for clean, vain, rests := 0, 0, 0; clean < 2 && vain < huntVain; {
		if err := ctx.Err(); err != nil {
			return h.killed, fmt.Errorf("processes of the daemon are still alive: %w", err)
		}
		s, err := h.prey()
		switch {
		case err != nil:
			return h.killed, fmt.Errorf("search for processes of the daemon: %w", err)
		case len(s.prey) > 0:
			clean, vain = 0, 0
			before := h.killed
			if err := h.kill(ctx); err != nil && h.killed == before {
				return h.killed, err
			}
		case s.unclear && rests < huntRests:
			clean = 0
			rests++
			rest(ctx)
		case s.fled:
			clean = 0
			vain++
		default:
			clean++
		}
	}
	if n := len(h.immune); n > 0 {
		return h.killed, fmt.Errorf("%d processes of the daemon have become another user's and cannot be killed", n)
	}
	return h.killed, nil
}

const (
	// huntVain bounds the looks in a row that find nothing to kill. Where
	// processes come and end all the time, each look may have missed somebody; so
	// many in a row have not.
	huntVain = 50
	// huntRests bounds how often it waits, for a millisecond and a look, for those
	// that are unclear, of which the machine may be full.
	huntRests = 200
)

// A hunter kills what carries a cookie.
type hunter struct {
	cookie string
	killed int
	dead   map[string]bool // by sighting.key: those that are among the killed
	immune map[string]bool // by sighting.key: those that it may not kill
	gone   map[int]bool    // at the last look

	stopped map[string]int // by sighting.key: pidfds of those that are to be killed
}

// A scene is what one look has told.
type scene struct {
	prey    []sighting
	unclear bool // somebody is on its way: there may be more
	fled    bool // somebody has ended since the look began: there may be more
}

// prey looks for processes to kill. It stops at once whoever carries the cookie:
// a moment later, they may have started another one and ended.
func (h *hunter) prey() (found scene, err error) {
	all, gone, err := look(h.cookie, h.stop)
	if err != nil {
		return found, err
	}
	before := h.gone
	h.gone = make(map[int]bool, len(gone))
	for _, pid := range gone {
		h.gone[pid] = true
		found.fled = found.fled || !before[pid]
	}
	pids, groups := make(map[int]bool), make(map[int]bool)
	mark := func(s sighting) {
		pids[s.pid] = true
		groups[s.group] = true
	}
	for _, s := range all {
		found.unclear = found.unclear || s.unclear
		if s.carries {
			mark(s)
		}
	}
	own := unix.Getpgrp()
	for grew := true; grew; {
		grew = false
		for _, s := range all {
			inGroup := groups[s.group] && s.group != 0 && s.group != own
			if !pids[s.pid] && !s.dead() && (pids[s.parent] || inGroup) {
				mark(s)
				grew = true
			}
		}
	}
	for _, s := range all {
		if pids[s.pid] && !s.dead() && !h.immune[s.key()] {
			found.prey = append(found.prey, s)
		}
	}
	return found, nil
}

// kill stops all that is found until nobody new turns up, and then kills it.
func (h *hunter) kill(ctx context.Context) (err error) {
	deadline := time.Now().Add(freezePatience)
	for looks := 1; ; looks++ {
		known := len(h.stopped)
		var found scene
		if found, err = h.prey(); err != nil {
			break // those that are stopped are killed nevertheless
		}
		moving := false
		for _, s := range found.prey {
			h.stop(s)
			moving = moving || !s.stopped()
		}
		// Who has been stopped since the look began may have started others by then.
		if !moving && len(h.stopped) == known || ctx.Err() != nil ||
			looks >= freezeLooks && time.Now().After(deadline) {
			break
		}
		rest(ctx) // nothing tells when they have stopped
	}
	for key, fd := range h.stopped {
		_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
		if !h.dead[key] {
			h.dead[key] = true
			h.killed++
		}
	}
	for key, fd := range h.stopped {
		awaitDeath(ctx, fd)
		_ = unix.Close(fd)
		delete(h.stopped, key)
	}
	return err
}

const (
	// freezePatience bounds how long they may take to stop, in freezeLooks looks at
	// least.
	freezePatience = 200 * time.Millisecond
	freezeLooks    = 10
)

// stop stops a process that was seen, and keeps its pidfd, if it has not done so.
func (h *hunter) stop(s sighting) {
	if _, known := h.stopped[s.key()]; known || h.immune[s.key()] {
		return
	}
	fd, err := unix.PidfdOpen(s.pid, 0)
	if err != nil {
		return // it is gone, or there is no descriptor for it before others are killed
	}
	if now, err := see(s.pid); err != nil || now.key() != s.key() {
		_ = unix.Close(fd) // its number is somebody else's by now
		return
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGSTOP, nil, 0); errors.Is(err, unix.EPERM) {
		h.immune[s.key()] = true
		_ = unix.Close(fd)
		return
	}
	h.stopped[s.key()] = fd
}

// awaitDeath returns when a killed process is dead, or after a moment, for one
// that the kernel does not let die yet: the next look finds it again.
func awaitDeath(ctx context.Context, fd int) {
	const moment = 200
	for ctx.Err() == nil {
		if _, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, moment); !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

func rest(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(time.Millisecond):
	}
}
