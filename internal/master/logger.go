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
	file    *logs.Writer
	console *console // nil: none
	level   *slog.LevelVar
	format  *formatHandler
}

func newLogger(path string, console io.Writer, l config.Logging) (*logger, error) {
	file, err := logs.Open(path, logLimits(l))
	if err != nil {
		return nil, err
	}
	lg := &logger{file: file, level: new(slog.LevelVar)}
	sinks := []io.Writer{file}
	if console != nil {
		lg.console = newConsole(console)
		sinks = append(sinks, lg.console)
	}
	lg.format = newFormatHandler(&tee{sinks: sinks}, lg.level)
	lg.Logger = slog.New(lg.format)
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

// dropped counts the lines that the file or the console could not take.
func (l *logger) dropped() uint64 {
	lost := uint64(l.file.Stats().DroppedLines)
	if l.console != nil {
		lost += l.console.dropped.Load()
	}
	return lost
}

func (l *logger) close() {
	if l.console != nil {
		l.console.close()
	}
	l.file.Close()
}

// A tee writes to all sinks, whatever becomes of one of them.
type tee struct{ sinks []io.Writer }

func (t *tee) Write(p []byte) (int, error) {
	for _, s := range t.sinks {
		_, _ = s.Write(p)
	}
	return len(p), nil
}
