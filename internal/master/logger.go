package master

import (
	"io"
	"log/slog"

	"github.com/poppobuilder/poppobuilder/internal/config"
	"github.com/poppobuilder/poppobuilder/internal/logs"
)

// A logger writes the daemon's log: to its file and, in the foreground, to the
// console too. Level and limits can change while it is in use.
type logger struct {
	*slog.Logger
	file   *logs.Writer
	level  *slog.LevelVar
	format *formatHandler
}

func newLogger(path string, console io.Writer, l config.Logging) (*logger, error) {
	file, err := logs.Open(path, logLimits(l))
	if err != nil {
		return nil, err
	}
	sinks := []io.Writer{file}
	if console != nil {
		sinks = append(sinks, console)
	}
	level := new(slog.LevelVar)
	format := newFormatHandler(&tee{sinks: sinks}, level)
	lg := &logger{Logger: slog.New(format), file: file, level: level, format: format}
	lg.apply(l)
	return lg, nil
}

// apply changes what the settings say.
func (l *logger) apply(s config.Logging) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(s.Level)); err == nil {
		l.level.Set(level)
	}
	l.format.set(s.Format)
	l.file.SetLimits(logLimits(s))
}

// dropped counts the lines that the file could not take.
func (l *logger) dropped() uint64 { return uint64(l.file.Stats().DroppedLines) }

func (l *logger) close() { l.file.Close() }

// A tee writes to all sinks, whatever becomes of one of them.
type tee struct{ sinks []io.Writer }

func (t *tee) Write(p []byte) (int, error) {
	for _, s := range t.sinks {
		_, _ = s.Write(p)
	}
	return len(p), nil
}
