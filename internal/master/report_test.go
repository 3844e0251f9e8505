package master

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/poppobuilder/poppobuilder/supervisor"
)

// What goes wrong in a service of the master itself is in the log, with its
// stack; an ordinary stop is not.
func TestTroubleInServicesIsLogged(t *testing.T) {
	t.Parallel()
	again := make(chan struct{})
	runs := 0
	service := supervisor.ServiceFunc(func(ctx context.Context) error {
		if runs++; runs == 1 {
			panic("out of order")
		}
		close(again)
		<-ctx.Done()
		return ctx.Err()
	})
	root, err := supervisor.New(supervisor.SupervisorOptions{Name: "root", Children: []supervisor.Spec{
		{Name: "broken", Service: service, Backoff: supervisor.Backoff{InitialDelay: -1}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	m := &master{root: root, log: &logger{Logger: slog.New(slog.NewTextHandler(&text, nil))}}
	events, reported := root.Subscribe(eventQueue), make(chan struct{})
	go m.report(events, reported)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- root.Serve(ctx) }()
	<-again
	cancel()
	<-ended
	events.Close()
	<-reported
	got := text.String()
	for _, want := range []string{"service=broken", "out of order", "report_test.go"} {
		if !strings.Contains(got, want) {
			t.Errorf("the log does not say %q: %s", want, got)
		}
	}
	if n := strings.Count(got, "level=ERROR"); n != 1 {
		t.Errorf("%d errors are logged, want that one: %s", n, got)
	}
}
