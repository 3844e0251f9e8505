package master

import (
	"context"
	"net"

	"github.com/poppobuilder/poppobuilder/internal/api"
)

// An endpoint is the API on one address. It listens before it is served, so
// that an address in use stops the start; when it had to be restarted it
// listens anew.
type endpoint struct {
	name   string
	listen func() (net.Listener, error)
	first  net.Listener // nil: used
	server func(net.Listener) *api.Server
}

// listen opens the socket and, if the settings say so, the port.
func (m *master) listen() ([]*endpoint, error) {
	token, err := api.LoadToken(m.paths.Token)
	if token == "" {
		return nil, err
	}
	if err != nil {
		m.log.Warn("api-token", "error", err)
	}
	handler := api.NewHandler(m, api.HandlerOptions{Token: token, Config: m.config, Log: m.log.Logger})
	server := func(l net.Listener) *api.Server {
		return &api.Server{Listener: l, Handler: handler, Log: m.log.Logger}
	}
	d := m.loaded.Daemon
	endpoints := []*endpoint{{
		name:   "socket",
		listen: func() (net.Listener, error) { return api.ListenUnix(m.paths.Socket) },
		server: server,
	}}
	if d.Port != nil {
		port := *d.Port
		endpoints = append(endpoints, &endpoint{
			name: "port",
			listen: func() (net.Listener, error) {
				l, err := api.ListenTCP(d.Host, port)
				if err == nil {
					port = l.Addr().(*net.TCPAddr).Port // was any free one; stays the same from now on
				}
				return l, err
			},
			server: server,
		})
	}
	for i, e := range endpoints {
		if e.first, err = e.listen(); err != nil {
			closeAll(endpoints[:i])
			return nil, err
		}
	}
	if d.Port != nil {
		m.address = endpoints[1].first.Addr().String()
	}
	return endpoints, nil
}

// closeAll closes the listeners that no server has taken.
func closeAll(endpoints []*endpoint) {
	for _, e := range endpoints {
		if e.first != nil {
			e.first.Close()
		}
	}
}

func (e *endpoint) String() string { return "api-" + e.name }

// Serve answers until ctx ends.
func (e *endpoint) Serve(ctx context.Context) error {
	l := e.first
	if e.first = nil; l == nil {
		var err error
		if l, err = e.listen(); err != nil {
			return err
		}
	}
	return e.server(l).Serve(ctx)
}
