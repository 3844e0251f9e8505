package api

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"net/url"
	"syscall"
)

// A request is one question of the client.
type request struct {
	method string // default GET
	path   string
	query  url.Values
	body   any  // nil: none
	waits  bool // takes as long as the daemon needs
}

// ask returns the daemon's answer to a request.
func ask[T any](ctx context.Context, c *Client, r request) (T, error) {
	var answer T
	err := c.do(ctx, r, &answer)
	return answer, err
}

// do stores the daemon's answer in the value that answer points to, unless
// that is nil.
func (c *Client) do(ctx context.Context, r request, answer any) error {
	if r.waits {
		// A daemon that hangs is found out before we wait for long.
		if err := c.Health(ctx); err != nil {
			return err
		}
		return c.exchange(ctx, r, answer)
	}
	timeout := cmp.Or(c.Timeout, defaultTimeout)
	bounded, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	err := c.exchange(bounded, r, answer)
	if err != nil && bounded.Err() != nil && ctx.Err() == nil {
		return fmt.Errorf("%w on %s within %v: %w", ErrNoAnswer, c.socket, timeout, context.DeadlineExceeded)
	}
	return err
}

func (c *Client) exchange(ctx context.Context, r request, answer any) error {
	hr, err := r.build(ctx)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(hr)
	if err != nil {
		return c.explain(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return c.explain(err)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return refusal(resp, data)
	}
	if answer == nil {
		return nil
	}
	if err := json.Unmarshal(data, answer); err != nil {
		return fmt.Errorf("read the daemon's answer to %s: %w", r.path, err)
	}
	return nil
}

func (r request) build(ctx context.Context) (*http.Request, error) {
	target := "http://localhost" + r.path
	if len(r.query) > 0 {
		target += "?" + r.query.Encode()
	}
	var body io.Reader
	if r.body != nil {
		data, err := json.Marshal(r.body)
		if err != nil {
			return nil, fmt.Errorf("encode request: %w", err)
		}
		body = bytes.NewReader(data)
	}
	hr, err := http.NewRequestWithContext(ctx, cmp.Or(r.method, http.MethodGet), target, body)
	if err != nil {
		return nil, fmt.Errorf("build request: %w", err)
	}
	if r.body != nil {
		hr.Header.Set("Content-Type", mediaJSON)
	}
	return hr, nil
}

// closedUnasked is what net/http says when it finds a connection closed before
// it has asked anything. It has no other name for it.
const closedUnasked = "http: server closed idle connection"

// explain says what an error of the connection means.
func (c *Client) explain(err error) error {
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err // its text repeats method and address
	}
	switch {
	case errors.Is(err, ErrNotRunning):
		return err
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("%w: nobody listens on %s: %w", ErrNotRunning, c.socket, errno(err))
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("ask the daemon on %s: %w; it belongs to another user", c.socket, errno(err))
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return fmt.Errorf("ask the daemon on %s: %w: %w", c.socket, ErrWentAway, err)
	case err.Error() == closedUnasked:
		return fmt.Errorf("ask the daemon on %s: %w before it was asked", c.socket, ErrWentAway)
	}
	return fmt.Errorf("ask the daemon on %s: %w", c.socket, err)
}

// refusal returns the problem that the daemon answered with.
func refusal(resp *http.Response, data []byte) error {
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	p := &Problem{}
	if media != mediaErrors || json.Unmarshal(data, p) != nil || p.Status == 0 {
		return fmt.Errorf("the daemon answered %s, without saying why", resp.Status)
	}
	return p
}
