package api

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"

	"github.com/poppobuilder/poppobuilder/internal/runs"
)

// HandlerOptions configure a handler.
type HandlerOptions struct {
	// Token is what TCP clients send as "Authorization: Bearer". Empty: what
	// needs a token is refused on TCP.
	Token string
	// Config returns the effective settings, as JSON shows them. Nil: there
	// is no /v1/config.
	Config func(context.Context) (any, error)
	// Log takes the stack of a handler that panicked. Default: nothing.
	Log *slog.Logger
}

// NewHandler returns the API of a backend, for unix sockets and TCP alike. It
// tells them apart by what [Server] notes about each connection; under another
// server every request counts as TCP.
func NewHandler(b Backend, o HandlerOptions) http.Handler {
	h := &handler{backend: b, config: o.Config, mux: http.NewServeMux()}
	h.routes()
	return recoverPanics(&guard{next: h, token: o.Token}, orDiscard(o.Log))
}

type handler struct {
	backend Backend
	config  func(context.Context) (any, error)
	mux     *http.ServeMux
}

func (h *handler) routes() {
	for pattern, endpoint := range map[string]func(http.ResponseWriter, *http.Request) error{
		"GET /healthz":                  h.healthz,
		"GET /readyz":                   h.readyz,
		"GET /v1/status":                h.status,
		"GET /v1/config":                h.getConfig,
		"GET /v1/projects":              h.listProjects,
		"POST /v1/projects":             h.addProject,
		"GET /v1/projects/{id}":         h.getProject,
		"PATCH /v1/projects/{id}":       h.patchProject,
		"DELETE /v1/projects/{id}":      h.deleteProject,
		"POST /v1/projects/{id}/run":    h.runProject,
		"POST /v1/projects/{id}/cancel": h.cancelProject,
		"GET /v1/runs":                  h.listRuns,
		"GET /v1/runs/{id}":             h.getRun,
		"GET /v1/runs/{id}/wait":        h.awaitRun,
		"POST /v1/runs/{id}/retry":      h.retryRun,
		"POST /v1/sync":                 h.sync,
		"POST /v1/reload":               h.reload,
		"POST /v1/stop":                 h.stop,
		"POST /v1/workers/{n}/restart":  h.restartWorker,
	} {
		h.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := endpoint(w, r); err != nil {
				writeProblem(w, problemOf(err))
			}
		})
	}
}

// ServeHTTP makes problems of the mux's own plain-text 404 and 405.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	refusal, pattern := h.mux.Handler(r)
	if pattern != "" {
		h.mux.ServeHTTP(w, r)
		return
	}
	answer := headerRecorder{}
	refusal.ServeHTTP(answer, r)
	allow := answer.Header().Get("Allow")
	if allow == "" {
		writeProblem(w, NewProblem(CodeNotFound, fmt.Sprintf("no endpoint %s", r.URL.Path)))
		return
	}
	w.Header().Set("Allow", allow)
	writeProblem(w, NewProblem(CodeMethodNotAllowed, fmt.Sprintf("%s takes %s, not %s", r.URL.Path, allow, r.Method)))
}

// A headerRecorder keeps the header of an answer and nothing else.
type headerRecorder http.Header

func (h headerRecorder) Header() http.Header         { return http.Header(h) }
func (h headerRecorder) WriteHeader(int)             {}
func (h headerRecorder) Write(p []byte) (int, error) { return len(p), nil }

func (h *handler) healthz(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
}

func (h *handler) readyz(w http.ResponseWriter, _ *http.Request) error {
	if !h.backend.Ready() {
		return NewProblem(CodeNotReady, "the daemon is not ready")
	}
	return writeJSON(w, http.StatusOK, map[string]string{"status": "ready"})
}

func (h *handler) status(w http.ResponseWriter, r *http.Request) error {
	s := h.backend.Status()
	if !authorized(r) {
		s = s.Public()
	}
	if s.Workers == nil {
		s.Workers = []Worker{} // "workers" is always a list
	}
	return writeJSON(w, http.StatusOK, s)
}

func (h *handler) getConfig(w http.ResponseWriter, r *http.Request) error {
	if h.config == nil {
		return NewProblem(CodeNotFound, "this daemon does not show its settings")
	}
	settings, err := h.config(r.Context())
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, settings)
}

func (h *handler) reload(w http.ResponseWriter, r *http.Request) error {
	result, err := h.backend.Reload(r.Context())
	waited(w, r)
	if err != nil {
		return err
	}
	for _, list := range []*[]string{
		&result.Changed, &result.RestartNeeded,
		&result.Projects.Added, &result.Projects.Removed, &result.Projects.Changed,
	} {
		if *list == nil {
			*list = []string{}
		}
	}
	return writeJSON(w, http.StatusOK, result)
}

func (h *handler) stop(w http.ResponseWriter, r *http.Request) error {
	kill, err := boolParam(r.URL.Query(), "kill")
	if err != nil {
		return err
	}
	if err := h.backend.Stop(r.Context(), kill); err != nil {
		return err
	}
	return writeJSON(w, http.StatusAccepted, map[string]string{"state": StateStopping})
}

func (h *handler) sync(w http.ResponseWriter, r *http.Request) error {
	err := h.backend.SyncProjects(r.Context())
	waited(w, r)
	return noContent(w, err)
}

func (h *handler) restartWorker(w http.ResponseWriter, r *http.Request) error {
	id, err := strconv.Atoi(r.PathValue("n"))
	if err != nil || id < 0 {
		return NewProblem(CodeBadRequest, fmt.Sprintf("%q is not the number of a worker; they count from 0", r.PathValue("n")))
	}
	return noContent(w, h.backend.RestartWorker(r.Context(), id))
}

func (h *handler) listRuns(w http.ResponseWriter, r *http.Request) error {
	filter, err := parseFilter(r.URL.Query())
	if err != nil {
		return err
	}
	list := h.backend.Runs(filter)
	if list == nil {
		list = []runs.Run{}
	}
	return writeJSON(w, http.StatusOK, runList{list})
}

func (h *handler) getRun(w http.ResponseWriter, r *http.Request) error {
	run, err := h.backend.Run(r.PathValue("id"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, run)
}

func (h *handler) awaitRun(w http.ResponseWriter, r *http.Request) error {
	until, err := parseUntil(r.URL.Query())
	if err != nil {
		return err
	}
	run, err := h.backend.AwaitRun(r.Context(), r.PathValue("id"), until)
	waited(w, r)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, run)
}

func (h *handler) retryRun(w http.ResponseWriter, r *http.Request) error {
	run, err := h.backend.RetryRun(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusAccepted, run)
}
