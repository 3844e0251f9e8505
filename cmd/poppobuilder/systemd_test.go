//go:build linux

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/poppobuilder/poppobuilder/internal/api"
)

// TestUnits runs the units that we print under the real systemd: as PID 1 of
// namespaces of its own, with no unit but ours and the few targets that it
// asks for.
func TestUnits(t *testing.T) {
	for _, kind := range []string{"notify", "forking"} {
		t.Run(kind, func(t *testing.T) {
			s := bootSystemd(t, kind)
			s.systemctl("start", "poppobuilder")
			s.awaitStart()
			if got := s.property("ActiveState"); got != "active" {
				t.Fatalf("after start the unit is %s", got)
			}
			s.systemctl("status", "poppobuilder")
			first := s.daemon()
			if got := s.property("MainPID"); got != strconv.Itoa(first.PID) {
				t.Errorf("systemd takes %s for the daemon, which is %d", got, first.PID)
			}
			if first.Manager != api.ManagerSystemd {
				t.Errorf("the daemon takes %q for its manager", first.Manager)
			}
			if first.Containment != api.ContainmentCgroup {
				t.Errorf("the workers are contained by %q, though the unit delegates its cgroup", first.Containment)
			}
			if kind == "notify" && s.property("StatusText") != "Ready" {
				t.Errorf("status text is %q", s.property("StatusText"))
			}

			s.poppobuilder("global-config", "set", "daemon.maxProcesses", "3")
			s.systemctl("reload", "poppobuilder")
			reloaded := s.daemon()
			if len(reloaded.Workers) != 3 || reloaded.PID != first.PID || reloaded.Workers[0].PID != first.Workers[0].PID {
				t.Errorf("reload made of %+v: %+v", first.Workers, reloaded.Workers)
			}
			if got := s.property("ActiveState"); got != "active" {
				t.Errorf("after reload the unit is %s", got)
			}

			s.systemctl("kill", "--kill-who=main", "--signal=KILL", "poppobuilder")
			s.awaitStart()
			if again := s.daemon(); again.PID == first.PID {
				t.Errorf("the daemon that was killed is back with the same pid %d", again.PID)
			}

			s.systemctl("stop", "poppobuilder")
			if got := s.property("ActiveState") + " " + s.property("Result"); got != "inactive success" {
				t.Errorf("after stop the unit is %s", got)
			}
			if left := s.leftovers(); left != "" {
				t.Errorf("after stop there is still:\n%s", left)
			}
		})
	}
}

// A systemd is a running one.
type systemd struct {
	t      *testing.T
	dir    string
	pid    string         // of systemd, seen from here
	starts *bufio.Scanner // a line for each start of the daemon, after it was ready
}

// bootScript makes the namespaces look like a fresh machine and becomes
// systemd.
const bootScript = `set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mkdir /run/lock
umount -R /sys/fs/cgroup || true
mount -t tmpfs tmpfs /sys/fs/cgroup
mkdir /sys/fs/cgroup/systemd /sys/fs/cgroup/unified
mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified
mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
exec %s --unit=boot.target --log-target=console --show-status=0
`

// bootSystemd boots systemd with our unit, or skips the test where that is not
// possible.
func bootSystemd(t *testing.T, kind string) *systemd {
	t.Helper()
	program := "/lib/systemd/systemd"
	if _, err := os.Stat(program); err != nil || os.Getuid() != 0 {
		t.Skip("needs root and systemd, to boot it in namespaces")
	}
	for _, tool := range []string{"unshare", "nsenter", "systemctl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s, to boot systemd in namespaces", tool)
		}
	}
	dir, err := os.MkdirTemp("/tmp", "pbsd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &systemd{t: t, dir: dir}
	s.write("boot.sh", fmt.Sprintf(bootScript, program))
	s.write("units/boot.target", "[Unit]\nWants=booted.service\n")
	for _, target := range []string{"sysinit", "basic", "shutdown", "multi-user", "network"} {
		s.write("units/"+target+".target", "[Unit]\nDefaultDependencies=no\n")
	}
	s.write("units/booted.service", "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo booted > "+dir+"/starts'\n")
	s.write("units/poppobuilder.service", s.unit(kind))
	s.write("units/poppobuilder.service.d/test.conf",
		"[Service]\nEnvironment="+programVariable+"=1\nExecStartPost=/bin/sh -c 'echo started > "+dir+"/starts'\n")
	starts := filepath.Join(dir, "starts")
	if err := syscall.Mkfifo(starts, 0o600); err != nil {
		t.Fatal(err)
	}
	// Opened for both, so that there always is a writer and reading never ends.
	fifo, err := os.OpenFile(starts, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { fifo.Close() })
	s.starts = bufio.NewScanner(fifo)

	var log bytes.Buffer
	boot := exec.Command("unshare", "--pid", "--mount", "--uts", "--ipc", "--cgroup", "--fork", "--mount-proc", "--kill-child", "sh", dir+"/boot.sh")
	boot.Env = append(os.Environ(), "container=other", "SYSTEMD_UNIT_PATH="+dir+"/units")
	boot.Stdout, boot.Stderr = &log, &log
	boot.WaitDelay = time.Second
	if err := boot.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { boot.Wait(); close(ended) }()
	t.Cleanup(func() {
		if t.Failed() && s.pid != "" {
			unit, _ := exec.Command("nsenter", "-t", s.pid, "-a", "systemctl", "--no-pager", "status", "poppobuilder").CombinedOutput()
			daemon, _ := exec.Command("tail", "-n", "99", dir+"/home/logs/daemon.log", dir+"/home/logs/worker-0.log").CombinedOutput()
			t.Logf("the unit:\n%s\nthe logs:\n%s", unit, daemon)
		}
		boot.Process.Kill() // systemd ignores TERM; this takes all of it along
		<-ended
		if t.Failed() {
			t.Logf("systemd says:\n%s", &log)
		}
	})
	booted := make(chan bool, 1)
	go func() { booted <- s.starts.Scan() }()
	select {
	case <-booted:
	case <-ended:
		t.Skipf("systemd cannot boot here: %s", &log)
	case <-time.After(time.Minute):
		t.Skip("systemd did not boot here within a minute")
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", boot.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	s.pid = strings.TrimSpace(string(children))
	return s
}

func (s *systemd) write(name, text string) {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// environ is that of the commands that a person would type.
func (s *systemd) environ() []string {
	return append(os.Environ(), programVariable+"=1", "POPPOBUILDER_HOME="+s.dir+"/home", "SYSTEMD_PAGER=")
}

// unit prints the unit of a fresh home.
func (s *systemd) unit(kind string) string {
	s.t.Helper()
	self, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	command := exec.Command(self, "daemon", "unit", "--type", kind)
	command.Env = s.environ()
	out, err := command.Output()
	if err != nil {
		s.t.Fatalf("print the unit: %v", err)
	}
	return string(out)
}

// enter runs a command on systemd's machine.
func (s *systemd) enter(args ...string) string {
	s.t.Helper()
	command := exec.Command("nsenter", append([]string{"-t", s.pid, "-a"}, args...)...)
	command.Env = s.environ()
	var problems bytes.Buffer
	command.Stderr = &problems
	out, err := command.Output()
	if err != nil {
		s.t.Fatalf("%s: %v\n%s%s", strings.Join(args, " "), err, out, &problems)
	}
	return string(out)
}

func (s *systemd) systemctl(args ...string) {
	s.t.Helper()
	s.enter(append([]string{"systemctl", "--no-pager"}, args...)...)
}

func (s *systemd) property(name string) string {
	s.t.Helper()
	return strings.TrimSpace(s.enter("systemctl", "show", "--value", "-p", name, "poppobuilder"))
}

func (s *systemd) poppobuilder(args ...string) string {
	s.t.Helper()
	self, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	return s.enter(append([]string{self}, args...)...)
}

func (s *systemd) daemon() api.Status {
	s.t.Helper()
	var status api.Status
	if err := json.Unmarshal([]byte(s.poppobuilder("daemon", "status", "--json")), &status); err != nil {
		s.t.Fatal(err)
	}
	return status
}

// awaitStart waits until the daemon has been started once more, and until systemd
// has noticed: a stop before that would kill the unit's ExecStartPost.
func (s *systemd) awaitStart() {
	s.t.Helper()
	if !s.starts.Scan() {
		s.t.Fatalf("wait for a start: %v", s.starts.Err())
	}
	s.systemctl("start", "poppobuilder") // joins the start that goes on
}

// leftovers lists the processes on systemd's machine that are not its own.
func (s *systemd) leftovers() string {
	var left []string
	for _, line := range strings.Split(s.enter("ps", "-eo", "pid,args", "--no-headers"), "\n") {
		if strings.Contains(line, " worker") || strings.Contains(line, "daemon start") {
			left = append(left, line)
		}
	}
	return strings.Join(left, "\n")
}
