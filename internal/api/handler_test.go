package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/poppobuilder/poppobuilder/internal/api"
)

func TestHandler_badRequests(t *testing.T) {
	t.Parallel()
	big := `{"id":"` + strings.Repeat("x", 1<<20) + `"}`
	for _, tt := range []struct {
		name, method, path, body string
		edit                     func(*http.Request)
		want                     string
	}{
		{"no endpoint", "GET", "/v1/nothing", "", nil, api.CodeNotFound},
		{"root", "GET", "/", "", nil, api.CodeNotFound},
		{"empty id", "GET", "/v1/projects/", "", nil, api.CodeNotFound},
		{"no settings", "GET", "/v1/config", "", nil, api.CodeNotFound},
		{"wrong method", "DELETE", "/v1/status", "", nil, api.CodeMethodNotAllowed},
		{"GET of a change", "GET", "/v1/stop", "", nil, api.CodeMethodNotAllowed},
		{"unknown project", "GET", "/v1/projects/nope", "", nil, api.CodeNotFound},
		{"unknown project patched", "PATCH", "/v1/projects/nope", "{}", nil, api.CodeNotFound},
		{"unknown run", "GET", "/v1/runs/nope", "", nil, api.CodeNotFound},
		{"no body", "POST", "/v1/projects", "", header("Content-Type", "application/json"), api.CodeBadRequest},
		{"garbage", "POST", "/v1/projects", "\x00\xff{", nil, api.CodeBadRequest},
		{"half", "POST", "/v1/projects", `{"id":"a"`, nil, api.CodeBadRequest},
		{"more than one", "POST", "/v1/projects", `{} {}`, nil, api.CodeBadRequest},
		{"array", "PATCH", "/v1/projects/web", `[]`, nil, api.CodeBadRequest},
		{"null", "PATCH", "/v1/projects/web", `null`, nil, api.CodeBadRequest},
		{"deep", "PATCH", "/v1/projects/web", `{"a":` + strings.Repeat("[", 200_000) + `}`, nil, api.CodeBadRequest},
		{"too large", "POST", "/v1/projects", big, nil, api.CodeTooLarge},
		{"form", "POST", "/v1/projects", "id=a", header("Content-Type", "application/x-www-form-urlencoded"), api.CodeMediaType},
		{"text", "POST", "/v1/projects", "{}", header("Content-Type", "text/plain"), api.CodeMediaType},
		{"no media type", "POST", "/v1/projects", "{}", header("Content-Type", ""), api.CodeMediaType},
		{"wrong type of id", "POST", "/v1/projects", `{"id":7}`, nil, api.CodeInvalidProject},
		{"wrong type of key", "PATCH", "/v1/projects/web", `{"path":7}`, nil, api.CodeInvalidProject},
		{"another id", "PATCH", "/v1/projects/web", `{"id":"other"}`, nil, api.CodeInvalidProject},
		{"no id", "PATCH", "/v1/projects/web", `{"id":null}`, nil, api.CodeInvalidProject},
		{"id taken", "POST", "/v1/projects", `{"id":"web","path":"/x","config":{"priority":50,"weight":1,"command":["x"]}}`, nil, api.CodeExists},
		{"args of a run no list", "POST", "/v1/projects/web/run", `{"args":"-v"}`, nil, api.CodeBadRequest},
		{"more than args", "POST", "/v1/projects/web/run", `{"arguments":["-v"]}`, nil, api.CodeBadRequest},
		{"wait for what there is not", "GET", "/v1/runs/r1/wait?until=later", "", nil, api.CodeBadRequest},
		{"wait for an unknown run", "GET", "/v1/runs/nope/wait", "", nil, api.CodeNotFound},
		{"retry an unknown run", "POST", "/v1/runs/nope/retry", "", nil, api.CodeNotFound},
		{"limit 0", "GET", "/v1/runs?limit=0", "", nil, api.CodeBadRequest},
		{"limit too high", "GET", "/v1/runs?limit=10001", "", nil, api.CodeBadRequest},
		{"limit of words", "GET", "/v1/runs?limit=all", "", nil, api.CodeBadRequest},
		{"unknown state", "GET", "/v1/runs?state=asleep", "", nil, api.CodeBadRequest},
		{"unclear kill", "POST", "/v1/stop?kill=maybe", "", nil, api.CodeBadRequest},
		{"worker by name", "POST", "/v1/workers/one/restart", "", nil, api.CodeBadRequest},
		{"negative worker", "POST", "/v1/workers/-1/restart", "", nil, api.CodeBadRequest},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			resp := do(t, api.NewHandler(newFake(), api.HandlerOptions{Token: token}), tt.method, tt.path, tt.body, tt.edit)
			if got := code(t, resp); got != tt.want {
				t.Errorf("got %s, code %q, want %q", resp.Status, got, tt.want)
			}
			if allow := resp.Header.Get("Allow"); (allow != "") != (tt.want == api.CodeMethodNotAllowed) {
				t.Errorf("%s with Allow: %q", resp.Status, allow)
			}
		})
	}
}

func TestHandler_success(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		endpoint, body string
		status         int
		location       string
	}{
		{"GET /healthz", "", 200, ""},
		{"HEAD /healthz", "", 200, ""},
		{"POST /v1/projects", `{"id":"b","path":"/srv/b","enabled":true,"config":{"priority":50,"weight":1,"command":["x"]}}`, 201, "/v1/projects/b"},
		{"DELETE /v1/projects/web", "", 204, ""},
		{"POST /v1/projects/web/run", "", 202, ""},
		{"POST /v1/projects/web/run", `{"args":["-v"]}`, 202, ""},
		{"POST /v1/projects/web/run", `{}`, 202, ""},
		{"GET /v1/runs/r1/wait", "", 200, ""},
		{"POST /v1/runs/r1/retry", "", 202, ""},
		{"POST /v1/stop", "", 202, ""},
		{"POST /v1/sync", "", 204, ""},
		{"POST /v1/workers/0/restart", "", 204, ""},
	} {
		method, path, _ := strings.Cut(tt.endpoint, " ")
		resp := do(t, api.NewHandler(newFake(), api.HandlerOptions{Token: token}), method, path, tt.body, nil)
		if resp.StatusCode != tt.status || resp.Header.Get("Location") != tt.location {
			body, _ := io.ReadAll(resp.Body)
			t.Errorf("%s: got %s, Location %q, want %d, %q\n%s", tt.endpoint, resp.Status, resp.Header.Get("Location"), tt.status, tt.location, body)
		}
	}
}

// TestHandler_statusJSON holds the keys that scripts rely on.
func TestHandler_statusJSON(t *testing.T) {
	t.Parallel()
	b := newFake()
	b.status = api.Status{Running: true, PID: 1, Version: "v", Strategy: "fair", State: api.StateRunning}
	body := func() string {
		data, err := io.ReadAll(do(t, api.NewHandler(b, api.HandlerOptions{Token: token}), "GET", "/v1/status", "", nil).Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	want := `{"running":true,"pid":1,"uptime":0,"version":"v","strategy":"fair","state":"running","workers":[],` +
		`"queue":{"queued":0,"running":0},"projects":{"total":0,"enabled":0},"api":{"address":""},"dropped":{"events":0,"logLines":0,"outputBytes":0,"malformed":0,"unknown":0}}` + "\n"
	if diff := cmp.Diff(want, body()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	ms := int64(0)
	b.status.Workers = []api.Worker{{ID: 1, Restarts: 3, State: api.WorkerBackoff, Project: "p", Run: "r", NextRetryMs: &ms, LastExit: "signal SIGKILL"}}
	want = `{"id":1,"pid":0,"uptime":0,"restarts":3,"state":"backoff","project":"p","run":"r","nextRetryMs":0,"lastExit":"signal SIGKILL"}`
	if !strings.Contains(body(), want) {
		t.Errorf("got %s, want %s in it", body(), want)
	}
}

// TestHandler_patch follows the rules of RFC 7396 and keeps what it does not
// know.
func TestHandler_patch(t *testing.T) {
	t.Parallel()
	b := newFake()
	p := b.projects["web"]
	p.Config.Env = map[string]string{"A": "1", "B": "2"}
	b.projects["web"] = p
	h := api.NewHandler(b, api.HandlerOptions{Token: token})
	patch := `{"enabled":false,"state":"running","lastRun":null,"config":{"name":null,"weight":2.5,"env":{"A":null,"C":"3"},"command":["sh"]}}`
	if resp := do(t, h, "PATCH", "/v1/projects/web", patch, header("Content-Type", "application/merge-patch+json; charset=utf-8")); resp.StatusCode != 200 {
		t.Fatalf("got %s: %v", resp.Status, problem(t, resp))
	}
	want := webProject()
	want.Enabled = false
	want.Config.Name, want.Config.Weight, want.Config.Command = "", 2.5, []string{"sh"}
	want.Config.Env = map[string]string{"B": "2", "C": "3"}
	got, err := json.Marshal(b.projects["web"])
	if err != nil {
		t.Fatal(err)
	}
	wantText, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(wantText), string(got)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestHandler_configFails(t *testing.T) {
	t.Parallel()
	h := api.NewHandler(newFake(), api.HandlerOptions{Token: token, Config: func(context.Context) (any, error) {
		return nil, errors.New("no settings yet")
	}})
	if got := code(t, do(t, h, "GET", "/v1/config", "", nil)); got != api.CodeInternal {
		t.Errorf("got %q, want %q", got, api.CodeInternal)
	}
}

// panicking is a backend with a bug.
type panicking struct{ *fakeBackend }

func (panicking) Status() api.Status { panic("bug in Status") }

func TestHandler_panic(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	h := api.NewHandler(panicking{newFake()}, api.HandlerOptions{Token: token, Log: slog.New(slog.NewTextHandler(&log, nil))})
	p := problem(t, do(t, h, "GET", "/v1/status", "", nil))
	if p == nil || p.Code != api.CodeInternal || strings.Contains(p.Detail, "bug in Status") {
		t.Errorf("got %+v", p)
	}
	if !strings.Contains(log.String(), "bug in Status") || !strings.Contains(log.String(), "handler_test.go") {
		t.Errorf("the log lacks the panic or its stack: %s", log.String())
	}
}
