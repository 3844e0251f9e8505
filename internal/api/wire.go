package api

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/poppobuilder/poppobuilder/internal/runs"
)

const (
	maxBody     = 1 << 20 // bytes of a request
	mediaJSON   = "application/json"
	mediaPatch  = "application/merge-patch+json" // RFC 7396
	mediaErrors = "application/problem+json"     // RFC 9457
)

type (
	projectList struct {
		Projects []Project `json:"projects"`
	}
	runOrder struct {
		Args []string `json:"args,omitempty"`
	}
	runList struct {
		Runs []runs.Run `json:"runs"`
	}
)

func writeJSON(w http.ResponseWriter, status int, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	writeBody(w, status, mediaJSON, data)
	return nil
}

func writeProblem(w http.ResponseWriter, p *Problem) {
	data, err := json.Marshal(p)
	if err != nil {
		panic(err) // strings and a number
	}
	writeBody(w, p.Status, mediaErrors, data)
}

// writeBody ignores errors: the client has gone, and nobody else wants them.
func writeBody(w http.ResponseWriter, status int, media string, data []byte) {
	w.Header().Set("Content-Type", media)
	w.Header().Set("Content-Length", strconv.Itoa(len(data)+1))
	w.WriteHeader(status)
	w.Write(append(data, '\n'))
}

func noContent(w http.ResponseWriter, err error) error {
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// readObject reads the body, one JSON object.
func readObject(w http.ResponseWriter, r *http.Request) (object, error) {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != mediaJSON && media != mediaPatch {
		return nil, NewProblem(CodeMediaType, "send JSON, and \"Content-Type: application/json\"")
	}
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, NewProblem(CodeTooLarge, fmt.Sprintf("the body has more than %d bytes", maxBody))
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, NewProblem(CodeBadRequest, "the body did not arrive in time")
	case err != nil:
		return nil, NewProblem(CodeBadRequest, fmt.Sprintf("read the body: %v", err))
	}
	var o object
	if err := json.Unmarshal(data, &o); err != nil {
		return nil, NewProblem(CodeBadRequest, fmt.Sprintf("the body is not a JSON object: %v", err))
	}
	if o == nil {
		return nil, NewProblem(CodeBadRequest, "the body is not a JSON object but null")
	}
	return o, nil
}

// waited gives the client the whole write timeout again, after an operation
// that may have used it up. (The read timeout ends by itself with the body.)
func waited(w http.ResponseWriter, r *http.Request) {
	if s, ok := r.Context().Value(http.ServerContextKey).(*http.Server); ok {
		http.NewResponseController(w).SetWriteDeadline(time.Now().Add(s.WriteTimeout))
	}
}

func boolParam(q url.Values, name string) (bool, error) {
	if !q.Has(name) {
		return false, nil
	}
	v, err := strconv.ParseBool(q.Get(name))
	if err != nil {
		return false, NewProblem(CodeBadRequest, fmt.Sprintf("%s=%s: true or false is allowed", name, q.Get(name)))
	}
	return v, nil
}

func parseFilter(q url.Values) (RunFilter, error) {
	f := RunFilter{Project: q.Get("project"), State: runs.State(q.Get("state")), Limit: DefaultRunLimit}
	states := []runs.State{
		runs.Queued, runs.Running, runs.Succeeded, runs.Failed,
		runs.TimedOut, runs.Cancelled, runs.Interrupted, runs.Preempted,
	}
	if f.State != "" && !slices.Contains(states, f.State) {
		return f, NewProblem(CodeBadRequest, fmt.Sprintf("state=%s: one of %v is allowed", f.State, states))
	}
	if q.Has("limit") {
		limit, err := strconv.Atoi(q.Get("limit"))
		if err != nil || limit < 1 || limit > MaxRunLimit {
			return f, NewProblem(CodeBadRequest, fmt.Sprintf("limit=%s: 1 to %d is allowed", q.Get("limit"), MaxRunLimit))
		}
		f.Limit = limit
	}
	return f, nil
}

// parseUntil returns what to wait for.
func parseUntil(q url.Values) (runs.Until, error) {
	until := runs.Until(cmp.Or(q.Get("until"), string(runs.UntilOver)))
	known := []runs.Until{runs.UntilStarted, runs.UntilEnded, runs.UntilOver}
	if !slices.Contains(known, until) {
		return until, NewProblem(CodeBadRequest, fmt.Sprintf("until=%s: one of %v is allowed", until, known))
	}
	return until, nil
}

func (f RunFilter) query() url.Values {
	q := url.Values{}
	if f.Project != "" {
		q.Set("project", f.Project)
	}
	if f.State != "" {
		q.Set("state", string(f.State))
	}
	if f.Limit != 0 {
		q.Set("limit", strconv.Itoa(f.Limit))
	}
	return q
}
