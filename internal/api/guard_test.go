package api_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/poppobuilder/poppobuilder/internal/api"
)

// do sends a request to a handler, as if it came over the loopback with the
// token, unless edit changes that.
func do(t *testing.T, h http.Handler, method, path, body string, edit func(*http.Request)) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, "http://127.0.0.1:45678"+path, strings.NewReader(body))
	r.RemoteAddr = "127.0.0.1:50000"
	r.Header.Set("Authorization", "Bearer "+token)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if edit != nil {
		edit(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

// problem returns the problem of an answer, or nil.
func problem(t *testing.T, resp *http.Response) *api.Problem {
	t.Helper()
	if resp.StatusCode < 400 {
		return nil
	}
	if media := resp.Header.Get("Content-Type"); media != "application/problem+json" {
		t.Fatalf("status %s with media type %q", resp.Status, media)
	}
	p := &api.Problem{}
	if err := json.NewDecoder(resp.Body).Decode(p); err != nil {
		t.Fatal(err)
	}
	if p.Status != resp.StatusCode || p.Detail == "" || p.Title == "" {
		t.Errorf("status %s with problem %+v", resp.Status, p)
	}
	return p
}

// code returns the code of an answer's problem, or "".
func code(t *testing.T, resp *http.Response) string {
	t.Helper()
	if p := problem(t, resp); p != nil {
		return p.Code
	}
	return ""
}

func header(key string, values ...string) func(*http.Request) {
	return func(r *http.Request) { r.Header[key] = values }
}

func host(h string) func(*http.Request)    { return func(r *http.Request) { r.Host = h } }
func from(addr string) func(*http.Request) { return func(r *http.Request) { r.RemoteAddr = addr } }
func noToken(r *http.Request)              { r.Header.Del("Authorization") }
func peer(uid int) func(r *http.Request)   { return both(from("@"), onSocket(uid)) }
func onSocket(uid int) func(*http.Request) {
	return func(r *http.Request) { *r = *r.WithContext(api.WithPeer(r.Context(), uid)) }
}

func both(edits ...func(*http.Request)) func(*http.Request) {
	return func(r *http.Request) {
		for _, edit := range edits {
			edit(r)
		}
	}
}

func TestGuard(t *testing.T) {
	t.Parallel()
	me := os.Geteuid()
	const secret, open = "/v1/projects", "/v1/status"
	for _, tt := range []struct {
		name string
		path string
		edit func(*http.Request)
		want string // the problem's code; empty: let through
	}{
		{"token", secret, nil, ""},
		{"scheme in lower case", secret, header("Authorization", "bearer "+token), ""},
		{"no token", secret, noToken, api.CodeUnauthorized},
		{"empty token", secret, header("Authorization", "Bearer "), api.CodeUnauthorized},
		{"wrong token", secret, header("Authorization", "Bearer "+strings.Repeat("x", len(token))), api.CodeUnauthorized},
		{"longer token", secret, header("Authorization", "Bearer "+token+"0"), api.CodeUnauthorized},
		{"token as password", secret, header("Authorization", "Basic "+token), api.CodeUnauthorized},
		{"unknown path without token", "/v2", noToken, api.CodeUnauthorized},
		{"status without token", open, noToken, ""},
		{"health without token", "/healthz", noToken, ""},
		{"ready without token", "/readyz", noToken, ""},
		{"detour to an open path", "/v1/projects/../status", noToken, api.CodeUnauthorized},
		{"detour from an open path", "/v1/status/../projects", noToken, api.CodeUnauthorized},

		{"another machine", open, from("192.0.2.7:50000"), api.CodeForbidden},
		{"another machine's token", secret, from("192.0.2.7:50000"), api.CodeForbidden},
		{"peer unknown", secret, from(""), api.CodeForbidden},
		{"IPv6", secret, both(from("[::1]:50000"), host("[::1]:45678")), ""},
		{"IPv4 in IPv6", secret, from("[::ffff:127.0.0.1]:50000"), ""},

		{"host localhost", open, host("localhost:45678"), ""},
		{"host in capitals", open, host("LocalHost:45678"), ""},
		{"host without port", open, host("127.0.0.1"), ""},
		{"host IPv6 without port", open, host("[::1]"), ""},
		{"rebound name", open, host("evil.example:45678"), api.CodeForbidden},
		{"rebound name with token", secret, host("evil.example:45678"), api.CodeForbidden},
		{"name that begins well", open, host("127.0.0.1.evil.example"), api.CodeForbidden},
		{"name that ends well", open, host("evil.localhost:45678"), api.CodeForbidden},
		{"another address", open, host("192.0.2.7:45678"), api.CodeForbidden},
		{"any address", open, host("0.0.0.0:45678"), api.CodeForbidden},
		{"no host", open, host(""), api.CodeForbidden},

		{"same origin", secret, header("Origin", "http://127.0.0.1:45678"), ""},
		{"cross origin", open, header("Origin", "https://evil.example"), api.CodeForbidden},
		{"cross origin with token", secret, header("Origin", "https://evil.example"), api.CodeForbidden},
		{"another port", open, header("Origin", "http://127.0.0.1:8080"), api.CodeForbidden},
		{"another scheme", open, header("Origin", "https://127.0.0.1:45678"), api.CodeForbidden},
		{"opaque origin", open, header("Origin", "null"), api.CodeForbidden},
		{"empty origin", open, header("Origin", ""), api.CodeForbidden},
		{"two origins", open, header("Origin", "http://127.0.0.1:45678", "https://evil.example"), api.CodeForbidden},
		{"image on a foreign page", open, header("Sec-Fetch-Site", "cross-site"), api.CodeForbidden},
		{"image on another port's page", open, header("Sec-Fetch-Site", "same-site"), api.CodeForbidden},
		{"typed address", open, header("Sec-Fetch-Site", "none"), ""},
		{"own page", open, header("Sec-Fetch-Site", "same-origin"), ""},

		{"socket, own user", secret, both(peer(me), noToken), ""},
		{"socket, root", secret, both(peer(0), noToken), ""},
		{"socket, host does not matter", secret, both(peer(me), noToken, host("x")), ""},
		{"socket, another user", open, peer(me + 1), api.CodeForbidden},
		{"socket, another user with token", secret, peer(me + 1), api.CodeForbidden},
		{"socket, user not known", open, peer(-1), api.CodeForbidden},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			resp := do(t, api.NewHandler(newFake(), api.HandlerOptions{Token: token}), "GET", tt.path, "", tt.edit)
			if got := code(t, resp); got != tt.want {
				t.Errorf("got %s, code %q, want %q", resp.Status, got, tt.want)
			}
			if (tt.want == api.CodeUnauthorized) != (resp.Header.Get("WWW-Authenticate") == "Bearer") {
				t.Errorf("%s with WWW-Authenticate: %q", resp.Status, resp.Header.Get("WWW-Authenticate"))
			}
			for key := range resp.Header {
				if strings.HasPrefix(key, "Access-Control-") {
					t.Errorf("header %s lets other origins in", key)
				}
			}
		})
	}
}

// TestGuard_changes asks for every change without a token.
func TestGuard_changes(t *testing.T) {
	t.Parallel()
	for _, endpoint := range []string{
		"POST /v1/status", "DELETE /healthz", "OPTIONS /v1/status",
		"GET /v1/config", "GET /v1/projects", "POST /v1/projects", "GET /v1/projects/web", "PATCH /v1/projects/web",
		"DELETE /v1/projects/web", "POST /v1/projects/web/run", "POST /v1/projects/web/cancel", "GET /v1/runs",
		"GET /v1/runs/r1", "GET /v1/runs/r1/wait", "POST /v1/runs/r1/retry", "POST /v1/sync", "POST /v1/reload", "POST /v1/stop", "POST /v1/workers/0/restart",
	} {
		b := newFake()
		method, path, _ := strings.Cut(endpoint, " ")
		// Neither is a daemon without a token open to an empty one.
		for _, o := range []api.HandlerOptions{{Token: token}, {}} {
			resp := do(t, api.NewHandler(b, o), method, path, "", header("Authorization", "Bearer "))
			if got := code(t, resp); got != api.CodeUnauthorized {
				t.Errorf("%s: got %s, want %s", endpoint, resp.Status, api.CodeUnauthorized)
			}
		}
		if calls := b.takeCalls(); calls != nil {
			t.Errorf("%s: the backend was told %v", endpoint, calls)
		}
	}
}

func TestStatus_public(t *testing.T) {
	t.Parallel()
	b := newFake()
	h := api.NewHandler(b, api.HandlerOptions{Token: token})
	secrets := []string{b.status.Home, b.status.Flags[0], `"bad"`}
	for _, tt := range []struct {
		name string
		edit func(*http.Request)
		all  bool
	}{
		{"no token", noToken, false},
		{"wrong token", header("Authorization", "Bearer x"), false},
		{"token", nil, true},
	} {
		var s api.Status
		resp := do(t, h, "GET", "/v1/status", "", tt.edit)
		if err := json.NewDecoder(resp.Body).Decode(&s); err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range secrets[:2] {
			if strings.Contains(string(text), secret) != tt.all {
				t.Errorf("%s: %q in the status: %v, want %v\n%s", tt.name, secret, !tt.all, tt.all, text)
			}
		}
		if s.PID != 12345 || len(s.Workers) != 1 || s.API.Address != "127.0.0.1:45678" || s.Reload.OK {
			t.Errorf("%s: got %s", tt.name, text)
		}
	}
	if b.status.Reload.Error == "" {
		t.Error("Public changed the backend's own status")
	}
}

// TestSocket_otherUser asks as another user, on a socket that was opened to
// everybody by mistake.
func TestSocket_otherUser(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can become another user")
	}
	dir, err := os.MkdirTemp("", "api")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := api.ListenUnix(dir + "/d.sock")
	if err != nil {
		t.Fatal(err)
	}
	socket := serve(t, &api.Server{Listener: l, Handler: api.NewHandler(newFake(), api.HandlerOptions{Token: token})})
	if err := errors.Join(os.Chmod(dir, 0o755), os.Chmod(socket, 0o666)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], socket)
	cmd.Env = append(os.Environ(), envAskAs+"=65534")
	out, err := cmd.Output() // a coverage build grumbles on stderr
	if err != nil || string(out) != api.CodeForbidden {
		t.Errorf("got %q, %v, want %q", out, err, api.CodeForbidden)
	}
}
