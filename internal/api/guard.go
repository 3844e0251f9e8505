package api

import (
	"context"
	"crypto/subtle"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// A guard lets through who may ask, and notes whether they may see and do
// everything.
type guard struct {
	next  http.Handler
	token string
}

type authorizedKey struct{}

// authorized reports whether a request that passed the guard may see and do
// everything.
func authorized(r *http.Request) bool {
	ok, _ := r.Context().Value(authorizedKey{}).(bool)
	return ok
}

// ServeHTTP implements [http.Handler].
func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	all, refusal := g.check(r)
	if refusal != nil {
		if refusal.Code == CodeUnauthorized {
			w.Header().Set("WWW-Authenticate", "Bearer")
		}
		writeProblem(w, refusal)
		return
	}
	g.next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), authorizedKey{}, all)))
}

// check reports whether the caller may do everything, or why nothing.
func (g *guard) check(r *http.Request) (all bool, refusal *Problem) {
	if p, ok := r.Context().Value(peerKey{}).(peer); ok {
		if !p.trusted() {
			return false, NewProblem(CodeForbidden, "this socket belongs to another user; ask as that user, or as root")
		}
		return true, nil
	}
	if refusal := checkLoopback(r); refusal != nil {
		return false, refusal
	}
	if refusal := checkOrigin(r); refusal != nil {
		return false, refusal
	}
	if g.hasToken(r) {
		return true, nil
	}
	if isOpen(r) {
		return false, nil
	}
	return false, NewProblem(CodeUnauthorized, "send the token of the file api-token as \"Authorization: Bearer TOKEN\", or ask over the unix socket")
}

// checkLoopback keeps out other machines, and names that somebody has made
// point at this one (DNS rebinding).
func checkLoopback(r *http.Request) *Problem {
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !remote.Addr().Unmap().IsLoopback() {
		return NewProblem(CodeForbidden, "only this machine may ask")
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	} else {
		host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	}
	if !isLoopbackHost(strings.ToLower(host)) {
		return NewProblem(CodeForbidden, fmt.Sprintf("the host %q is not this machine's; use 127.0.0.1, [::1] or localhost", r.Host))
	}
	return nil
}

// checkOrigin keeps out the pages of other origins that run in a browser here.
// A browser sends Origin with what scripts and forms ask, and Sec-Fetch-Site
// (Fetch Metadata, W3C) with everything, such as an image.
func checkOrigin(r *http.Request) *Problem {
	for _, origin := range r.Header.Values("Origin") {
		if !strings.EqualFold(origin, "http://"+r.Host) {
			return NewProblem(CodeForbidden, fmt.Sprintf("pages of the origin %q may not ask", origin))
		}
	}
	switch site := r.Header.Get("Sec-Fetch-Site"); site {
	case "", "none", "same-origin":
		return nil
	default:
		return NewProblem(CodeForbidden, fmt.Sprintf("a page of another origin may not ask (Sec-Fetch-Site: %s)", site))
	}
}

func (g *guard) hasToken(r *http.Request) bool {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return g.token != "" && strings.EqualFold(scheme, "Bearer") &&
		subtle.ConstantTimeCompare([]byte(token), []byte(g.token)) == 1
}

// isOpen reports whether the endpoint needs no token.
func isOpen(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	switch r.URL.Path {
	case "/healthz", "/readyz", "/v1/status":
		return true
	}
	return false
}
