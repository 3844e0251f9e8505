// Package api is how the daemon is asked and told: HTTP with JSON over the
// unix socket and over loopback, and the client that the CLI uses.
//
// The daemon's side, with a [Backend] that knows the answers:
//
//	l, err := api.ListenUnix(path)
//	...
//	server := &api.Server{Listener: l, Handler: api.NewHandler(backend, api.HandlerOptions{Token: token})}
//	err = server.Serve(ctx)
//
// The other side:
//
//	c := api.NewClient(path)
//	defer c.Close()
//	status, err := c.Status(ctx)
//	if errors.Is(err, api.ErrNotRunning) { ... }
//
// # Endpoints
//
//	GET    /healthz                     200 while the process answers
//	GET    /readyz                      200 when it is ready for work, else 503
//	GET    /v1/status                   [Status]
//	GET    /v1/config                   the effective settings
//	GET    /v1/projects                 {"projects": [Project...]}
//	POST   /v1/projects                 adds one: 201 and the [Project]
//	GET    /v1/projects/{id}            [Project]
//	PATCH  /v1/projects/{id}            JSON merge patch (RFC 7396): [Project]
//	DELETE /v1/projects/{id}            204
//	POST   /v1/projects/{id}/run        202 and the run
//	POST   /v1/projects/{id}/cancel     the run, once it has ended
//	GET    /v1/runs                     {"runs": [Run...]}, ?project= &state= &limit=
//	GET    /v1/runs/{id}                the run
//	POST   /v1/sync                     takes projects.json as it is now: 204
//	POST   /v1/reload                   [Reload]
//	POST   /v1/stop                     begins to stop, ?kill=true: at once; 202
//	POST   /v1/workers/{n}/restart      204
//
// Every error is a [Problem]. Bodies are JSON objects of at most 1 MiB; keys
// that are not known in them mean nothing.
//
// # Who may ask
//
// On the unix socket the kernel tells who the caller is: the daemon's own user
// and root may do everything, others nothing. Other users share the loopback
// with us, and so do the web pages in our user's browser. On TCP, therefore,
// the peer must be on loopback, the Host must be a loopback address or
// "localhost" (so that a name that an attacker rebinds to 127.0.0.1 is
// refused), a request that a page of another origin makes is refused, and
// everything but the first three endpoints needs "Authorization: Bearer" with
// the token of the file api-token. Without it the status is
// [Status.Public].
package api
