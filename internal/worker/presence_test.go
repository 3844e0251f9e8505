package worker_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"github.com/poppobuilder/poppobuilder/internal/worker"
)

func TestAwaitAbsence(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "workers.lock")
	if err := worker.AwaitAbsence(t.Context(), path); err != nil {
		t.Fatalf("nobody ever was there: %v", err)
	}
	first, err := worker.Presence(path)
	if err != nil {
		t.Fatal(err)
	}
	second, err := worker.Presence(path)
	if err != nil {
		t.Fatalf("a second one: %v", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := worker.AwaitAbsence(gone, path); !errors.Is(err, context.Canceled) {
		t.Errorf("two are there: %v", err)
	}
	absent := make(chan error, 1)
	go func() { absent <- worker.AwaitAbsence(t.Context(), path) }()
	for _, release := range []func() error{first, second} {
		select {
		case err := <-absent:
			t.Fatalf("somebody is still there: %v", err)
		default:
		}
		if err := release(); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-absent; err != nil {
		t.Errorf("both are gone: %v", err)
	}
}
