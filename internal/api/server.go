package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// A Server serves one listener: it is a Service. Listener and Handler are
// required, everything else has a default.
type Server struct {
	Listener net.Listener
	Handler  http.Handler // of [NewHandler]

	// ReadTimeout is how long a request may take to arrive, its header half
	// as long. Default 10 s.
	ReadTimeout time.Duration
	// WriteTimeout is how long the client may take to read an answer.
	// Default 10 s.
	WriteTimeout time.Duration
	// IdleTimeout is how long a connection may wait for its next request.
	// Default 60 s.
	IdleTimeout time.Duration
	// Grace is how long a request that runs when Serve's context ends may
	// go on. Then its context ends too. Default 3 s.
	Grace time.Duration
	// MaxConns is how many connections may be open at once; more wait for
	// their turn, so that nobody uses up the daemon's descriptors. Default 64.
	MaxConns int
	// Log takes what goes wrong in a connection. Default: nothing.
	Log *slog.Logger
}

// Defaults of a [Server], and the bounds that it does not offer to change.
const (
	defaultReadTimeout  = 10 * time.Second
	defaultWriteTimeout = 10 * time.Second
	defaultIdleTimeout  = time.Minute
	defaultGrace        = 3 * time.Second
	defaultMaxConns     = 64

	maxHeaderBytes = 16 << 10
	abortGrace     = time.Second // for handlers whose context has ended
)

// String names the service by its address.
func (s *Server) String() string { return "api on " + s.Listener.Addr().String() }

// Serve answers requests until ctx ends, and returns ctx's error then. The
// listener is closed when it returns, so that a Server serves once.
//
// When ctx ends no new connection is taken, connections that have not asked
// anything are closed, and requests have Grace to end. A handler that does not
// even end with its context is left behind after another second.
func (s *Server) Serve(ctx context.Context) error {
	requests, abort := context.WithCancel(context.WithoutCancel(ctx))
	defer abort()
	silent := &connSet{conns: map[net.Conn]struct{}{}}
	hs := s.httpServer(requests, silent)

	served := make(chan error, 1)
	go func() { served <- hs.Serve(newLimitListener(s.Listener, cmp.Or(s.MaxConns, defaultMaxConns))) }()

	select {
	case err := <-served:
		hs.Close()
		return fmt.Errorf("serve %s: %w", s, err)
	case <-ctx.Done():
	}
	s.shutdown(hs, silent, abort)
	<-served
	return ctx.Err()
}

func (s *Server) httpServer(requests context.Context, silent *connSet) *http.Server {
	read := cmp.Or(s.ReadTimeout, defaultReadTimeout)
	return &http.Server{
		Handler:           s.Handler,
		ReadHeaderTimeout: read / 2,
		ReadTimeout:       read,
		WriteTimeout:      read + cmp.Or(s.WriteTimeout, defaultWriteTimeout),
		IdleTimeout:       cmp.Or(s.IdleTimeout, defaultIdleTimeout),
		MaxHeaderBytes:    maxHeaderBytes,
		BaseContext:       func(net.Listener) context.Context { return requests },
		ConnContext:       withPeer,
		ConnState:         silent.track,
		// "OPTIONS *" would be answered without asking who asks.
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     slog.NewLogLogger(orDiscard(s.Log).Handler(), slog.LevelWarn),
	}
}

func (s *Server) shutdown(hs *http.Server, silent *connSet, abort context.CancelFunc) {
	if shutdownWithin(hs, cmp.Or(s.Grace, defaultGrace), silent) {
		return
	}
	abort()
	if !shutdownWithin(hs, abortGrace, silent) {
		hs.Close()
	}
}

// shutdownWithin reports whether no connection was left in time.
func shutdownWithin(hs *http.Server, grace time.Duration, silent *connSet) bool {
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	silent.close()
	return !errors.Is(hs.Shutdown(ctx), context.DeadlineExceeded)
}

// A connSet holds the connections that have not sent a byte yet. Browsers open
// some ahead of need; http.Server.Shutdown would wait 5 s for each.
type connSet struct {
	mu     sync.Mutex // guards what follows
	conns  map[net.Conn]struct{}
	closed bool
}

func (c *connSet) track(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case state != http.StateNew:
		delete(c.conns, conn)
	case c.closed:
		conn.Close()
	default:
		c.conns[conn] = struct{}{}
	}
}

func (c *connSet) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for conn := range c.conns {
		conn.Close()
	}
	clear(c.conns)
}
