package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/poppobuilder/poppobuilder/internal/config"
)

func TestHome(t *testing.T) {
	t.Parallel()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		environ   []string
		want, err string
	}{
		{[]string{"HOME=/home/ada"}, "/home/ada/.poppobuilder", ""},
		{[]string{"HOME=/home/ada", "POPPOBUILDER_HOME="}, "/home/ada/.poppobuilder", ""},
		{[]string{"HOME=/home/ada", "POPPOBUILDER_HOME=/srv/poppo/"}, "/srv/poppo", ""},
		{[]string{"POPPOBUILDER_HOME=here"}, filepath.Join(dir, "here"), ""},
		{[]string{"POPPOBUILDER_HOME=~/x"}, "", "~/x starts with ~"},
		{[]string{}, "", "neither POPPOBUILDER_HOME nor HOME is set"},
	} {
		got, err := config.Home(test.environ)
		if got != test.want || (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("Home(%q) = %q, %v; want %q, %q", test.environ, got, err, test.want, test.err)
		}
	}
}

func TestHomeOfProcess(t *testing.T) {
	t.Setenv(config.HomeVariable, "/srv/poppo")
	if got, err := config.Home(nil); got != "/srv/poppo" || err != nil {
		t.Errorf("Home(nil) = %q, %v", got, err)
	}
}

func TestPaths(t *testing.T) {
	t.Parallel()
	p := config.NewPaths("/h")
	want := config.Paths{
		Home: "/h", Config: "/h/config.json", Projects: "/h/projects.json", PIDFile: "/h/daemon.pid",
		SocketDir: "/h/sockets", Socket: "/h/sockets/daemon.sock", State: "/h/state",
		Logs: "/h/logs", DaemonLog: "/h/logs/daemon.log", Token: "/h/api-token",
	}
	if diff := cmp.Diff(want, p); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := p.WorkerLog(3); got != "/h/logs/worker-3.log" {
		t.Errorf("WorkerLog: %s", got)
	}
	if got := p.ProjectLog("web"); got != "/h/logs/projects/web.log" {
		t.Errorf("ProjectLog: %s", got)
	}
}

func TestSocketPathIsShort(t *testing.T) {
	t.Parallel()
	const rest = len("/sockets/daemon.sock")
	home := func(socket int) string { return "/" + strings.Repeat("h", socket-rest-1) }

	if p := config.NewPaths(home(103)); p.Socket != filepath.Join(home(103), "sockets/daemon.sock") {
		t.Errorf("103 bytes fit everywhere, got %s", p.Socket)
	}
	p := config.NewPaths(home(108))
	if len(p.Socket) > 103 || p.SocketDir != filepath.Dir(p.Socket) || !strings.HasPrefix(p.Socket, "/tmp/poppobuilder-") {
		t.Errorf("108 bytes fit nowhere, got %s in %s", p.Socket, p.SocketDir)
	}
	if again := config.NewPaths(home(108)); again.Socket != p.Socket {
		t.Errorf("two paths for one home: %s, %s", p.Socket, again.Socket)
	}
	if other := config.NewPaths(home(109)); other.Socket == p.Socket {
		t.Errorf("two homes share %s", p.Socket)
	}
}
