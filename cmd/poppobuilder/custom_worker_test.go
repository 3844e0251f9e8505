//go:build linux

package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/poppobuilder/poppobuilder/internal/api"
	"github.com/poppobuilder/poppobuilder/internal/runs"
)

// shellWorker speaks the protocol with read and echo. Its runs always succeed.
const shellWorker = `
echo '{"type":"ready","protocol":1,"pid":'$$'}' >&3
while read -r line <&3; do
	case $line in
	*'"type":"run"'*)
		run=$(printf '%s' "$line" | sed 's/.*"run":{"id":"\([^"]*\)".*/\1/')
		echo '{"type":"started","run":"'$run'","pid":'$$'}' >&3
		echo '{"type":"finished","run":"'$run'","exitCode":0,"userMs":1,"systemMs":2,"maxRssBytes":3}' >&3
		;;
	*'"type":"shutdown"'*) exit 0 ;;
	esac
done
`

// nodeWorker knows nothing of us but the messages. Its runs end with code 7.
const nodeWorker = `
process.on('message', (m) => {
  if (m.type === 'run') {
    process.send({ type: 'started', run: m.run.id, pid: process.pid })
    process.send({ type: 'metrics', metrics: { heapUsed: process.memoryUsage().heapUsed } })
    process.send({ type: 'finished', run: m.run.id, exitCode: 7, userMs: 1, systemMs: 2, maxRssBytes: 3 })
  }
  if (m.type === 'shutdown') process.exit(0)
})
process.send({ type: 'ready', protocol: 1, pid: process.pid })
`

func TestWorkersOfOnesOwn(t *testing.T) {
	for _, tt := range []struct {
		name, program, file, script string
		state                       runs.State
		code                        int
	}{
		{"sh", "sh", "worker.sh", shellWorker, runs.Succeeded, 0},
		{"node", "node", "worker.js", nodeWorker, runs.Failed, 7},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			program, err := exec.LookPath(tt.program)
			if err != nil {
				t.Skipf("needs %s: %v", tt.program, err)
			}
			h := newHome(t, `{"daemon":{"maxProcesses":1,"port":null},"defaults":{"retryAttempts":0}}`)
			script := filepath.Join(h.dir, tt.file)
			if err := os.WriteFile(script, []byte(tt.script), 0o600); err != nil {
				t.Fatal(err)
			}
			command, err := json.Marshal([]string{program, script})
			if err != nil {
				t.Fatal(err)
			}
			h.must("global-config", "set", "daemon.worker.command", string(command))
			h.must("project", "add", h.dir, "--id", "any", "--", "true")
			h.must("daemon", "start")
			ended := h.await("the run to end", func(api.Status) bool { return len(h.runs(tt.state)) == 1 })
			run := h.runs(tt.state)[0]
			if run.ExitCode == nil || *run.ExitCode != tt.code || run.UserMS != 1 || run.SystemMS != 2 || run.MaxRSSBytes != 3 || run.PID != ended.Workers[0].PID {
				t.Errorf("got %+v", run)
			}
			if w := h.status().Workers[0]; w.Restarts != 0 {
				t.Errorf("the worker was restarted: %+v", w)
			}
			h.must("daemon", "stop")
		})
	}
}

// runs lists the runs in a state; in any, if it is empty.
func (h *testHome) runs(state runs.State) []runs.Run {
	h.t.Helper()
	command := []string{"project", "runs", "--json"}
	if state != "" {
		command = append(command, "--state", string(state))
	}
	var list []runs.Run
	if err := json.Unmarshal([]byte(h.must(command...)), &list); err != nil {
		h.t.Fatal(err)
	}
	return list
}
