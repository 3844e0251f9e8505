package dispatch

import (
	"cmp"
	"maps"
	"strconv"

	"github.com/poppobuilder/poppobuilder/internal/project"
	"github.com/poppobuilder/poppobuilder/internal/runs"
)

// environment is what a run's command finds in its environment besides the
// daemon's: the project's own variables, and who it is.
func environment(p project.Project, run runs.Run) map[string]string {
	env := make(map[string]string, len(p.Config.Env)+10)
	maps.Copy(env, p.Config.Env)
	env["POPPOBUILDER_DAEMON"] = "true"
	env["POPPOBUILDER_PROJECT_ID"] = p.ID
	env["POPPOBUILDER_RUN_ID"] = run.ID
	env["POPPOBUILDER_ATTEMPT"] = strconv.Itoa(run.Attempt)
	env["POPPOBUILDER_REASON"] = string(run.Reason)
	if run.Worker != nil {
		env["POPPOBUILDER_WORKER_ID"] = strconv.Itoa(*run.Worker)
	}
	env["POPPO_PROJECT_PATH"] = p.Path
	env["POPPO_PROJECT_NAME"] = cmp.Or(p.Config.Name, p.ID)
	if g := p.Config.GitHub; g != (project.GitHub{}) {
		env["POPPO_GITHUB_OWNER"] = g.Owner
		env["POPPO_GITHUB_REPO"] = g.Repo
	}
	return env
}
