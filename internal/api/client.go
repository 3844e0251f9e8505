package api

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/poppobuilder/poppobuilder/internal/project"
	"github.com/poppobuilder/poppobuilder/internal/runs"
)

// ErrNotRunning says that nobody listens on the socket.
var ErrNotRunning = errors.New("the daemon is not running")

// ErrWentAway says that the daemon ended, or was about to, when it was asked.
var ErrWentAway = errors.New("it went away")

// ErrNoAnswer says that somebody listens on the socket but did not answer in
// time. The error is [context.DeadlineExceeded], too.
var ErrNoAnswer = errors.New("the daemon does not answer")

const (
	defaultTimeout = 5 * time.Second
	maxAnswer      = 64 << 20 // bytes
)

// A Client asks the daemon over its unix socket. It is safe for concurrent
// use. Errors of its methods are a [*Problem] when the daemon refused,
// [ErrNotRunning], [ErrWentAway], [ErrNoAnswer], the context's error, [io/fs.ErrPermission]
// when the socket belongs to another user, or another trouble with the socket.
type Client struct {
	// Timeout bounds each request that the daemon answers at once.
	// Default 5 s. Reload, SyncProjects, RemoveProject, CancelProject and
	// AwaitRun take as long as the daemon needs, bounded by their context only, once
	// the daemon has shown within Timeout that it answers.
	Timeout time.Duration

	socket string
	http   *http.Client
}

// NewClient returns a client for the daemon that listens on the socket. It
// connects with the first request.
func NewClient(socket string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		if err := checkSocketPath(socket); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrNotRunning, err)
		}
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}
	return &Client{
		Timeout: defaultTimeout,
		socket:  socket,
		http: &http.Client{
			Transport:     &http.Transport{DialContext: dial, MaxIdleConnsPerHost: 1, DisableCompression: true},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// Socket returns the path that the client was made with.
func (c *Client) Socket() string { return c.socket }

// Close closes idle connections. The client may be used again.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Status asks for the daemon's status.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return ask[Status](ctx, c, request{path: "/v1/status"})
}

// Health reports nil when the daemon answers at all.
func (c *Client) Health(ctx context.Context) error {
	return c.do(ctx, request{path: "/healthz"}, nil)
}

// Ready reports nil when the daemon is ready for work, and a [*Problem] with
// [CodeNotReady] when it is not.
func (c *Client) Ready(ctx context.Context) error {
	return c.do(ctx, request{path: "/readyz"}, nil)
}

// Config asks for the effective settings, and stores them in the value that
// settings points to.
func (c *Client) Config(ctx context.Context, settings any) error {
	return c.do(ctx, request{path: "/v1/config"}, settings)
}

// Reload makes the daemon read settings and projects anew.
func (c *Client) Reload(ctx context.Context) (Reload, error) {
	return ask[Reload](ctx, c, request{method: http.MethodPost, path: "/v1/reload", waits: true})
}

// Stop makes the daemon stop: gracefully, or at once with kill. It returns
// when that has begun.
func (c *Client) Stop(ctx context.Context, kill bool) error {
	r := request{method: http.MethodPost, path: "/v1/stop"}
	if kill {
		r.query = url.Values{"kill": {"true"}}
	}
	return c.do(ctx, r, nil)
}

// SyncProjects makes the daemon take projects.json as it is now.
func (c *Client) SyncProjects(ctx context.Context) error {
	return c.do(ctx, request{method: http.MethodPost, path: "/v1/sync", waits: true}, nil)
}

// Projects lists the projects, by id.
func (c *Client) Projects(ctx context.Context) ([]Project, error) {
	list, err := ask[projectList](ctx, c, request{path: "/v1/projects"})
	return list.Projects, err
}

// Project asks for one project.
func (c *Client) Project(ctx context.Context, id string) (Project, error) {
	return ask[Project](ctx, c, request{path: projectPath(id)})
}

// AddProject registers a project.
func (c *Client) AddProject(ctx context.Context, p project.Project) (Project, error) {
	return ask[Project](ctx, c, request{method: http.MethodPost, path: "/v1/projects", body: p})
}

// SetProject changes a project by a JSON merge patch (RFC 7396): what the
// patch names is set, what it sets to null is removed, everything else stays.
func (c *Client) SetProject(ctx context.Context, id string, patch any) (Project, error) {
	return ask[Project](ctx, c, request{method: http.MethodPatch, path: projectPath(id), body: patch})
}

// RemoveProject takes a project out of the registry.
func (c *Client) RemoveProject(ctx context.Context, id string) error {
	return c.do(ctx, request{method: http.MethodDelete, path: projectPath(id), waits: true}, nil)
}

// RunProject queues a run whose command gets args in addition, or returns the
// one with these args that is queued already.
func (c *Client) RunProject(ctx context.Context, id string, args ...string) (runs.Run, error) {
	r := request{method: http.MethodPost, path: projectPath(id) + "/run"}
	if len(args) > 0 {
		r.body = runOrder{args}
	}
	return ask[runs.Run](ctx, c, r)
}

// CancelProject stops the project's run, and returns when it has ended.
func (c *Client) CancelProject(ctx context.Context, id string) (runs.Run, error) {
	return ask[runs.Run](ctx, c, request{method: http.MethodPost, path: projectPath(id) + "/cancel", waits: true})
}

// Runs lists runs, newest first.
func (c *Client) Runs(ctx context.Context, filter RunFilter) ([]runs.Run, error) {
	list, err := ask[runList](ctx, c, request{path: "/v1/runs", query: filter.query()})
	return list.Runs, err
}

// Run asks for one run.
func (c *Client) Run(ctx context.Context, id string) (runs.Run, error) {
	return ask[runs.Run](ctx, c, request{path: runPath(id)})
}

// AwaitRun returns a run when it has come so far.
func (c *Client) AwaitRun(ctx context.Context, id string, until runs.Until) (runs.Run, error) {
	return ask[runs.Run](ctx, c, request{path: runPath(id) + "/wait", query: url.Values{"until": {string(until)}}, waits: true})
}

// RetryRun queues a run like one that has ended.
func (c *Client) RetryRun(ctx context.Context, id string) (runs.Run, error) {
	return ask[runs.Run](ctx, c, request{method: http.MethodPost, path: runPath(id) + "/retry"})
}

// RestartWorker replaces the process of one worker, and returns when that has
// begun.
func (c *Client) RestartWorker(ctx context.Context, id int) error {
	return c.do(ctx, request{method: http.MethodPost, path: "/v1/workers/" + strconv.Itoa(id) + "/restart"}, nil)
}

func runPath(id string) string     { return "/v1/runs/" + url.PathEscape(id) }
func projectPath(id string) string { return "/v1/projects/" + url.PathEscape(id) }
