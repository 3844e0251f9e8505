package master

import (
	"cmp"
	"slices"
	"strconv"
	"sync"

	"github.com/poppobuilder/poppobuilder/internal/api"
	"github.com/poppobuilder/poppobuilder/procworker/ipc"
)

// lostLogs counts the lines that the logs of runs, and of workers that are
// gone, could not take.
type lostLogs struct {
	mu    sync.Mutex // guards what follows
	ended map[string]int64
	runs  map[int]runLoss // of the worker's latest run
}

// A runLoss is what the log of a run that is under way has lost.
type runLoss struct {
	run, log string
	lines    int64
}

// begin notes which run a worker is given.
func (l *lostLogs) begin(n int, run ipc.RunSpec) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.settle(n, l.runs[n].lines)
	if l.runs == nil {
		l.runs = make(map[int]runLoss)
	}
	l.runs[n] = runLoss{run: run.ID, log: "projects/" + run.Project + ".log"}
}

// update notes what the run's log has lost so far. News of another run is old.
func (l *lostLogs) update(n int, run string, lines int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r := l.runs[n]; r.run == run {
		r.lines = lines
		l.runs[n] = r
	}
}

// end notes what the run's log has lost in all.
func (l *lostLogs) end(n int, run string, lines int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.runs[n].run == run {
		l.settle(n, lines)
	}
}

// settle adds the loss of a worker's latest run to those that have ended. The
// caller holds mu.
func (l *lostLogs) settle(n int, lines int64) {
	l.add(l.runs[n].log, lines)
	delete(l.runs, n)
}

// gone notes what the log of a worker that is gone has lost.
func (l *lostLogs) gone(n int, lines uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.add(workerLog(n), int64(lines))
}

func workerLog(n int) string { return "worker-" + strconv.Itoa(n) + ".log" }

// add counts lines of a log. The caller holds mu.
func (l *lostLogs) add(log string, lines int64) {
	if lines <= 0 {
		return
	}
	if l.ended == nil {
		l.ended = make(map[string]int64)
	}
	l.ended[log] += lines
}

// counts returns the lines lost so far, by the name of the log.
func (l *lostLogs) counts() map[string]int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	counts := make(map[string]int64)
	for log, lines := range l.ended {
		counts[log] += lines
	}
	for _, r := range l.runs {
		if r.lines > 0 {
			counts[r.log] += r.lines
		}
	}
	return counts
}

// dropped puts together what was lost, and where.
func (m *master) dropped() api.Dropped {
	lost, logs := m.pool.losses(), m.pool.runLogs.counts()
	reasons := make(map[string]string)
	for _, s := range m.pool.members() {
		if stats := s.log.Stats(); stats.DroppedLines > 0 {
			logs[workerLog(s.n)] += stats.DroppedLines
			reasons[workerLog(s.n)] = stats.LastError.Error()
		}
	}
	const own = "daemon.log"
	if stats := m.log.file.Stats(); stats.DroppedLines > 0 {
		logs[own] = stats.DroppedLines
		reasons[own] = stats.LastError.Error()
	}
	d := api.Dropped{
		Events:      int64(lost.events),
		LogLines:    int64(m.log.dropped()) - logs[own], // the console's
		OutputBytes: int64(lost.outputBytes),
		Malformed:   int64(lost.malformed),
		Unknown:     int64(lost.unknown),
	}
	for log, lines := range logs {
		d.LogLines += lines
		d.Logs = append(d.Logs, api.LostLog{Log: log, Lines: lines, Error: reasons[log]})
	}
	slices.SortFunc(d.Logs, func(a, b api.LostLog) int { return cmp.Compare(a.Log, b.Log) })
	return d
}
