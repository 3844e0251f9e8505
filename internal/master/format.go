package master

import (
	"context"
	"io"
	"log/slog"
	"sync/atomic"
)

// A formatHandler writes records as text or as JSON, and can change between
// the two.
type formatHandler struct {
	text, json slog.Handler
	useJSON    *atomic.Bool // shared with the handlers derived from this one
}

func newFormatHandler(w io.Writer, level slog.Leveler) *formatHandler {
	o := &slog.HandlerOptions{Level: level}
	return &formatHandler{
		text:    slog.NewTextHandler(w, o),
		json:    slog.NewJSONHandler(w, o),
		useJSON: new(atomic.Bool),
	}
}

// set changes the format, "text" or "json".
func (h *formatHandler) set(format string) { h.useJSON.Store(format == "json") }

func (h *formatHandler) current() slog.Handler {
	if h.useJSON.Load() {
		return h.json
	}
	return h.text
}

// Enabled implements [slog.Handler].
func (h *formatHandler) Enabled(ctx context.Context, l slog.Level) bool {
	return h.current().Enabled(ctx, l)
}

// Handle implements [slog.Handler].
func (h *formatHandler) Handle(ctx context.Context, r slog.Record) error {
	return h.current().Handle(ctx, r)
}

// WithAttrs implements [slog.Handler].
func (h *formatHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &formatHandler{text: h.text.WithAttrs(attrs), json: h.json.WithAttrs(attrs), useJSON: h.useJSON}
}

// WithGroup implements [slog.Handler].
func (h *formatHandler) WithGroup(name string) slog.Handler {
	return &formatHandler{text: h.text.WithGroup(name), json: h.json.WithGroup(name), useJSON: h.useJSON}
}
