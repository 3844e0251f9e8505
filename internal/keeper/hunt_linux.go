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
	h := hunter{cookie: cookie, immune: make(map[string]bool)}
	// A process that appears while the list is read may be missing in it, so
	// only two looks without prey are the end.
	for clean := 0; clean < 2; {
		if err := ctx.Err(); err != nil {
			return h.killed, fmt.Errorf("processes of the daemon are still alive: %w", err)
		}
		prey, unclear, err := h.prey()
		switch {
		case err != nil:
			return h.killed, fmt.Errorf("search for processes of the daemon: %w", err)
		case len(prey) > 0:
			clean = 0
			if err := h.kill(ctx); err != nil {
				return h.killed, err
			}
		case unclear:
			clean = 0
			rest(ctx)
		default:
			clean++
		}
	}
	if n := len(h.immune); n > 0 {
		return h.killed, fmt.Errorf("%d processes of the daemon have become another user's and cannot be killed", n)
	}
	return h.killed, nil
}

// A hunter kills what carries a cookie.
type hunter struct {
	cookie string
	killed int
	immune map[string]bool // by sighting.key: those that it may not kill
}

// prey looks for processes to kill. Unclear says that there may be more.
func (h *hunter) prey() (prey []sighting, unclear bool, err error) {
	all, err := look(h.cookie)
	if err != nil {
		return nil, false, err
	}
	pids, groups := make(map[int]bool), make(map[int]bool)
	mark := func(s sighting) {
		pids[s.pid] = true
		groups[s.group] = true
	}
	for _, s := range all {
		unclear = unclear || s.unclear
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
			prey = append(prey, s)
		}
	}
	return prey, unclear, nil
}

// kill stops all that is found until nobody new turns up, and then kills it.
func (h *hunter) kill(ctx context.Context) error {
	stopped := make(map[string]int) // pidfds by sighting.key
	defer func() {
		for _, fd := range stopped {
			_ = unix.Close(fd)
		}
	}()
	for range freezeTries {
		prey, _, err := h.prey()
		if err != nil {
			return err
		}
		moving := false
		for _, s := range prey {
			if _, known := stopped[s.key()]; !known {
				h.stop(s, stopped)
			}
			moving = moving || !s.stopped()
		}
		if !moving {
			break
		}
		rest(ctx) // nothing tells when they have stopped
	}
	for _, fd := range stopped {
		_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
		h.killed++
	}
	for _, fd := range stopped {
		awaitDeath(ctx, fd)
	}
	return nil
}

// freezeTries bounds, in milliseconds, how long they may take to stop.
const freezeTries = 200

// stop stops a process that was seen, and keeps its pidfd.
func (h *hunter) stop(s sighting, stopped map[string]int) {
	fd, err := unix.PidfdOpen(s.pid, 0)
	if err != nil {
		return // it is gone
	}
	if now, ok := see(s.pid); !ok || now.key() != s.key() {
		_ = unix.Close(fd) // its number is somebody else's by now
		return
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGSTOP, nil, 0); errors.Is(err, unix.EPERM) {
		h.immune[s.key()] = true
		_ = unix.Close(fd)
		return
	}
	stopped[s.key()] = fd
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
