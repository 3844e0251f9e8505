package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/poppobuilder/poppobuilder/internal/project"
	"github.com/poppobuilder/poppobuilder/internal/runs"
)

// Codes of problems, for machines.
const (
	CodeBadRequest       = "bad-request"            // 400: malformed body, query or worker number
	CodeUnauthorized     = "unauthorized"           // 401: no token, or a wrong one
	CodeForbidden        = "forbidden"              // 403: wrong user, peer, Host or Origin
	CodeNotFound         = "not-found"              // 404: no such endpoint, project, run or worker
	CodeMethodNotAllowed = "method-not-allowed"     // 405
	CodeExists           = "exists"                 // 409: the id is taken
	CodeConflict         = "conflict"               // 409: not possible in this state, such as cancel when nothing runs
	CodeTooLarge         = "too-large"              // 413: a body over 1 MiB
	CodeMediaType        = "unsupported-media-type" // 415: a body that is not JSON
	CodeInvalidConfig    = "invalid-config"         // 422
	CodeInvalidProject   = "invalid-project"        // 422
	CodeInternal         = "internal"               // 500
	CodeNotReady         = "not-ready"              // 503: still starting
	CodeStopping         = "stopping"               // 503: no longer takes this
	CodeTimeout          = "timeout"                // 504: the daemon did not do it in time
	CodeStorage          = "storage"                // 507: the run cannot be put on disk
)

// A Problem is an error as HTTP carries it: application/problem+json of RFC
// 9457, with a code for machines.
type Problem struct {
	Type   string `json:"type"`   // always "about:blank"
	Title  string `json:"title"`  // the text of Status, such as "Not Found"
	Status int    `json:"status"` // of HTTP
	Detail string `json:"detail"` // a sentence for people: what happened, and the next step
	Code   string `json:"code"`   // [CodeBadRequest] ...
}

// NewProblem returns the problem with this code; an unknown code is
// [CodeInternal].
func NewProblem(code, detail string) *Problem {
	status := http.StatusInternalServerError
	switch code {
	case CodeBadRequest:
		status = http.StatusBadRequest
	case CodeUnauthorized:
		status = http.StatusUnauthorized
	case CodeForbidden:
		status = http.StatusForbidden
	case CodeNotFound:
		status = http.StatusNotFound
	case CodeMethodNotAllowed:
		status = http.StatusMethodNotAllowed
	case CodeExists, CodeConflict:
		status = http.StatusConflict
	case CodeTooLarge:
		status = http.StatusRequestEntityTooLarge
	case CodeMediaType:
		status = http.StatusUnsupportedMediaType
	case CodeInvalidConfig, CodeInvalidProject:
		status = http.StatusUnprocessableEntity
	case CodeNotReady, CodeStopping:
		status = http.StatusServiceUnavailable
	case CodeTimeout:
		status = http.StatusGatewayTimeout
	case CodeStorage:
		status = http.StatusInsufficientStorage
	default:
		code = CodeInternal
	}
	return &Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: detail, Code: code}
}

// Error returns the detail.
func (p *Problem) Error() string {
	if p.Detail == "" {
		return p.Title
	}
	return p.Detail
}

// Is makes errors.Is(err, project.ErrNotFound) and the like true on the
// client's side too.
func (p *Problem) Is(target error) bool {
	switch target {
	case project.ErrExists:
		return p.Code == CodeExists
	case project.ErrNotFound, runs.ErrNotFound:
		return p.Code == CodeNotFound
	}
	return false
}

// problemOf returns err as a problem, as [Backend] promises.
func problemOf(err error) *Problem {
	var p *Problem
	var faults project.Faults
	code := CodeInternal
	switch {
	case errors.As(err, &p):
		return p
	case errors.Is(err, project.ErrNotFound), errors.Is(err, runs.ErrNotFound):
		code = CodeNotFound
	case errors.Is(err, project.ErrExists):
		code = CodeExists
	case errors.As(err, &faults):
		code = CodeInvalidProject
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return NewProblem(CodeTimeout, fmt.Sprintf("the daemon is stopping, or it took too long: %v", err))
	}
	return NewProblem(code, err.Error())
}
