package worker

import (
	"strconv"
	"strings"

	"github.com/poppobuilder/poppobuilder/procworker/ipc"
)

// environment returns the environment of a run's command: the worker's, the
// run's own on top. What belongs to the worker's channel and to the service
// manager's talk with the daemon is left out.
func environment(inherited []string, id int, spec ipc.RunSpec) []string {
	set := map[string]string{
		"POPPOBUILDER_WORKER_ID": strconv.Itoa(id),
		"PWD":                    spec.Dir, // the inherited one is the worker's
	}
	for name, value := range spec.Env {
		if !marks(name) {
			set[name] = value
		}
	}
	env := make([]string, 0, len(inherited)+len(set))
	for _, entry := range inherited {
		name, _, _ := strings.Cut(entry, "=")
		if _, replaced := set[name]; !replaced && !private(name) {
			env = append(env, entry)
		}
	}
	for name, value := range set {
		env = append(env, name+"="+value)
	}
	return env
}

// marks reports whether a variable marks a run as the daemon's, so that it can
// be found when the daemon or the worker is dead. A run has those of its worker,
// and cannot change them.
func marks(name string) bool { return name == "POPPOBUILDER_KEEPER" || name == "POPPOBUILDER_SPAWN" }

func private(name string) bool {
	switch name {
	case ipc.EnvFD, ipc.EnvNodeFD, "NOTIFY_SOCKET":
		return true
	}
	return strings.HasPrefix(name, "WATCHDOG_") || strings.HasPrefix(name, "LISTEN_")
}

// lookup returns a variable's value in an environment.
func lookup(env []string, name string) string {
	for _, entry := range env {
		if value, ok := strings.CutPrefix(entry, name+"="); ok {
			return value
		}
	}
	return ""
}
