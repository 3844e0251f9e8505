package procworker_test

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/poppobuilder/poppobuilder/procworker"
	"github.com/poppobuilder/poppobuilder/procworker/ipc"
)

func TestServeReadyWithoutCallback(t *testing.T) {
	t.Parallel()
	w := shell(t, sayReady+"exit 3")
	var exit *procworker.ExitError
	if err := w.ServeReady(t.Context(), nil); !errors.As(err, &exit) || exit.Code != 3 || exit.BeforeReady {
		t.Errorf("ServeReady = %v, want code 3", err)
	}
}

// A panic in a function of the user's is a failure of that child, and of
// nothing else.
func TestPanicsInHooks(t *testing.T) {
	t.Parallel()
	boom := func() { panic(io.ErrShortWrite) }
	tests := []struct {
		name  string
		bad   string // what the child says after "ready"
		hook  func(w *procworker.Worker)
		ready func()
	}{
		{name: "OnMessage", bad: `{"type":"note"}`, hook: func(w *procworker.Worker) {
			w.OnMessage = func(_ uint64, m ipc.Message) {
				if m.Type == "note" {
					boom()
				}
			}
		}},
		{name: "OnMalformed", bad: "nonsense", hook: func(w *procworker.Worker) {
			w.OnMalformed = func(uint64, *ipc.MalformedError) { boom() }
		}},
		{name: "ready", hook: func(*procworker.Worker) {}, ready: boom},
	}
	for _, tt := range tests {
		for how, end := range map[string]string{"runs on": "exec sleep 1000", "ends": "exit 0"} {
			t.Run(tt.name+", the child "+how, func(t *testing.T) {
				t.Parallel()
				w := shell(t, sayReady+"echo '"+tt.bad+"' >&3; "+end)
				if tt.bad == "" {
					w.Command[2] = sayReady + end
				}
				tt.hook(w)
				err := w.ServeReady(t.Context(), tt.ready)
				var got *procworker.PanicError
				if !errors.As(err, &got) || got.Value != io.ErrShortWrite || !errors.Is(err, io.ErrShortWrite) {
					t.Fatalf("ServeReady = %v, want *PanicError", err)
				}
				if stack := string(got.Stack); !strings.Contains(stack, "TestPanicsInHooks") {
					t.Errorf("the stack does not show who panicked:\n%s", stack)
				}
				if s := w.Snapshot(); s.State != procworker.StateStopped || s.LastExit.Err != err.Error() {
					t.Errorf("Snapshot = %+v, %+v", s, s.LastExit)
				}
			})
		}
	}
}
