package config

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// HomeVariable names the variable that moves the daemon's home.
const HomeVariable = EnvPrefix + "HOME"

// Home returns the absolute path of the daemon's home: POPPOBUILDER_HOME, or
// .poppobuilder in the user's home directory. A nil environ is [os.Environ].
// Nothing is created. It is an error if neither POPPOBUILDER_HOME nor HOME is
// set.
func Home(environ []string) (string, error) {
	if environ == nil {
		environ = os.Environ()
	}
	home := getenv(environ, HomeVariable)
	if home == "" {
		user := getenv(environ, "HOME")
		if user == "" {
			return "", errors.New("find home: neither " + HomeVariable + " nor HOME is set; set one of them to an absolute path")
		}
		home = filepath.Join(user, ".poppobuilder")
	}
	if home == "~" || strings.HasPrefix(home, "~/") {
		return "", fmt.Errorf("find home: %s starts with ~, which only a shell expands; set %s to the full path", home, HomeVariable)
	}
	abs, err := filepath.Abs(home)
	if err != nil {
		return "", fmt.Errorf("find home: %w", err)
	}
	return abs, nil
}

// getenv returns the first value of the variable, as [os.Getenv] does.
func getenv(environ []string, name string) string {
	for _, kv := range environ {
		if k, v, ok := strings.Cut(kv, "="); ok && k == name {
			return v
		}
	}
	return ""
}

// Paths names everything that the daemon keeps in its home.
type Paths struct {
	Home     string // 0700
	Config   string // config.json
	Projects string // projects.json
	PIDFile  string // daemon.pid
	// SocketDir holds Socket and nothing else. Whoever creates it makes it
	// 0700 and refuses one that belongs to another user: see [NewPaths].
	SocketDir string
	Socket    string
	State     string // state, a directory
	Logs      string // logs, a directory
	DaemonLog string // logs/daemon.log
	Token     string // api-token
}

// NewPaths returns the paths below home. It touches no file.
//
// The socket is sockets/daemon.sock, unless that is too long for the system
// to bind (107 bytes on Linux, 103 elsewhere: unix(7), sun_path). Then it is
// /tmp/poppobuilder-HASH/daemon.sock. The path depends on home alone, not on
// XDG_RUNTIME_DIR, TMPDIR or the user: the daemon under systemd and a client
// in a cron job must come to the same one. The price is that anybody can
// make that directory first, hence the check of its owner.
func NewPaths(home string) Paths {
	p := Paths{
		Home:      home,
		Config:    filepath.Join(home, "config.json"),
		Projects:  filepath.Join(home, "projects.json"),
		PIDFile:   filepath.Join(home, "daemon.pid"),
		SocketDir: filepath.Join(home, "sockets"),
		State:     filepath.Join(home, "state"),
		Logs:      filepath.Join(home, "logs"),
		Token:     filepath.Join(home, "api-token"),
	}
	p.DaemonLog = filepath.Join(p.Logs, "daemon.log")
	const name = "daemon.sock"
	if len(filepath.Join(p.SocketDir, name)) > maxSocketPath() {
		sum := sha256.Sum256([]byte(home))
		p.SocketDir = "/tmp/poppobuilder-" + hex.EncodeToString(sum[:8])
	}
	p.Socket = filepath.Join(p.SocketDir, name)
	return p
}

// maxSocketPath is the size of sun_path without its final NUL.
func maxSocketPath() int {
	if runtime.GOOS == "linux" {
		return 107
	}
	return 103
}

// WorkerLog is where worker n writes.
func (p Paths) WorkerLog(n int) string {
	return filepath.Join(p.Logs, fmt.Sprintf("worker-%d.log", n))
}

// ProjectLog is where the runs of a project write. The id must be a valid
// one: it becomes a file name.
func (p Paths) ProjectLog(id string) string {
	return filepath.Join(p.Logs, "projects", id+".log")
}
