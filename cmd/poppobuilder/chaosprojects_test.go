//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/poppobuilder/poppobuilder/internal/project"
)

// chattyLines is how many lines a run of a chatty project prints.
const chattyLines = 50

// A chaosKind is a kind of project of the chaos test.
type chaosKind struct {
	name     string
	interval time.Duration // 0: a service
	timeout  time.Duration // 0: none
	script   string
}

var chaosKinds = []chaosKind{
	{"quick", 200 * time.Millisecond, 0, `true`},
	{"failing", 300 * time.Millisecond, 0, `exit 3`},
	{"long", time.Second, 0, `sleep 5`},
	{"forking", 500 * time.Millisecond, 0, `for i in 1 2 3 4 5 6 7 8; do sleep 0.3 & done; wait`},
	{"setsid", 400 * time.Millisecond, 0, `setsid sh -c 'sleep 1000 & wait' & sleep 0.2`},
	{"stubborn", 700 * time.Millisecond, 0, `trap "" TERM; (setsid sh -c 'trap "" TERM; sleep 0.6' &); sleep 0.5`},
	{"chatty", 300 * time.Millisecond, 0, fmt.Sprintf(`i=0; while [ $i -lt %d ]; do i=$((i+1)); echo "$POPPOBUILDER_RUN_ID line $i."; done`, chattyLines)},
	{"flood", time.Second, 0, `head -c 300000 /dev/zero | tr '\0' x`},
	{"service", 0, 0, `sleep 0.3`},
	{"stopped", 500 * time.Millisecond, 500 * time.Millisecond, `kill -STOP $$`},
}

// chaosPerKind makes it 30 projects.
const chaosPerKind = 3

// guardScript lets a run write down that another run of its project is alive.
// All that a run starts inherits the lock. Another code than 1 says that flock
// itself was killed; then the run has done nothing, and must not succeed.
const guardScript = `exec 9>>lock; flock -n 9 || { [ $? = 1 ] && echo "$POPPOBUILDER_RUN_ID" >>overlap; exit 9; }; `

// addProjects registers the projects before the first start.
func (c *chaos) addProjects() {
	c.t.Helper()
	guard := guardScript
	if _, err := exec.LookPath("flock"); err != nil {
		c.t.Logf("runs do not look for each other: %v", err)
		guard = ""
	}
	store := project.Store{Path: c.paths.Projects}
	err := store.Update(func(r *project.Registry) error {
		for _, kind := range chaosKinds {
			for n := range chaosPerKind {
				id := fmt.Sprintf("%s-%d", kind.name, n)
				dir := filepath.Join(c.dir, id)
				if err := os.Mkdir(dir, 0o700); err != nil {
					return err
				}
				config := project.DefaultConfig()
				config.CheckInterval, config.RunTimeout = &kind.interval, &kind.timeout
				config.Command = []string{"sh", "-c", guard + kind.script}
				config.Priority, config.Weight = 10*n, float64(n+1)
				if err := r.Add(project.Project{ID: id, Path: dir, Enabled: true, Config: config}); err != nil {
					return err
				}
				c.projects = append(c.projects, id)
			}
		}
		return nil
	})
	if err != nil {
		c.t.Fatal(err)
	}
}
