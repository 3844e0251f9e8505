package procworker

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// sleeper returns a process that runs under that name, in a group of its own.
func sleeper(t *testing.T, name string) *exec.Cmd {
	t.Helper()
	program, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), name)
	if err := os.Symlink(program, link); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(link, "1000")
	cmd.Args[0] = "sleep" // for one that goes by its name
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd
}

// A process's name may look like what comes after it.
func TestReadStatOfOddNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"plain", ") Z 1 1 (", "a) T 0", "((", "new\nline"} {
		cmd := sleeper(t, name)
		s, err := readStat(cmd.Process.Pid)
		if err != nil || s.parent != os.Getpid() || s.group != cmd.Process.Pid || s.dead() || s.state == 'T' {
			t.Errorf("%q: %+v, %v", name, s, err)
		}
	}
	gone := sleeper(t, "gone")
	_ = gone.Process.Kill()
	_ = gone.Wait()
	if s, err := readStat(gone.Process.Pid); err == nil {
		t.Errorf("of one that is gone: %+v", s)
	}
	if _, err := open(gone.Process.Pid, func(stat) bool { return true }); !isGone(err) {
		t.Error("one that is gone was opened")
	}
}

// A process without an environment is told from one whose program is just being
// executed, and has none yet.
func TestBelongsWithoutEnvironment(t *testing.T) {
	t.Parallel()
	for _, env := range [][]string{{}, {"A=1"}} {
		cmd := exec.Command("sleep", "1000")
		cmd.Env = env
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		v := unclear
		for v == unclear { // it may not have arrived yet
			v = belongs(cmd.Process.Pid, 0, "x")
		}
		if v != stranger {
			t.Errorf("with %q: it has a cookie", env)
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}

// Nor is one that executes program after program ever taken for one that has no
// environment. With a large one the kernel takes its time.
func TestBelongsWhileProgramsAreExecuted(t *testing.T) {
	t.Parallel()
	const cookie = "biscuit"
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(sh, "-c", `eval "$AGAIN"`)
	cmd.Env = []string{`AGAIN=exec ` + sh + ` -c 'eval "$AGAIN"'`, envSpawn + "=" + cookie}
	for i := range 5000 {
		cmd.Env = append(cmd.Env, "V"+strconv.Itoa(i)+"=")
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	told := make(map[verdict]int)
	for range 2000 {
		told[belongs(cmd.Process.Pid, 0, cookie)]++
	}
	if told[stranger] > 0 || told[unclear] == 0 {
		t.Errorf("%d times a stranger, %d unclear: want 0 and some", told[stranger], told[unclear])
	}
	if s, err := readStat(cmd.Process.Pid); err != nil || s.dead() {
		t.Errorf("it has ended: %+v, %v", s, err)
	}
}

// A handle is of a process that is still the one that was meant.
func TestOpenLooksAgain(t *testing.T) {
	t.Parallel()
	pid := sleeper(t, "one").Process.Pid
	if _, err := open(pid, func(s stat) bool { return s.parent == 1 }); !isGone(err) {
		t.Error("a process that does not fit was opened")
	}
	h, err := open(pid, func(s stat) bool { return s.group == pid })
	if err != nil || !h.mayKill() {
		t.Fatal("a process that fits was not opened")
	}
	handles{h}.kill()
	handles{h}.await()
	if s, err := readStat(pid); err == nil && !s.dead() {
		t.Errorf("after kill: %+v", s)
	}
}

// A look counts only if nobody was absent in it who was there at the last one.
func TestSweepEndsAfterACalmLook(t *testing.T) {
	t.Parallel()
	self := os.Getpid()
	zombie := sleeper(t, "zombie").Process
	if err := zombie.Kill(); err != nil {
		t.Fatal(err)
	}
	for !isZombie(zombie.Pid) {
		time.Sleep(time.Millisecond) // it is not to be waited for
	}
	alive := sleeper(t, "alive").Process.Pid
	const nobody = 5_000_000 // above the largest number of a process
	for name, test := range map[string]struct {
		pid, parent int
		v           verdict
		looks       int
	}{
		"a stranger":          {alive, self, stranger, 1},
		"a dead one":          {zombie.Pid, self, stranger, 2},
		"one that is gone":    {nobody, self, stranger, 2},
		"another one's child": {alive, 1, stranger, 2},
	} {
		looks := 0
		for s := newSweep(); looks < 5 && s.goesOn(); looks++ {
			s.note(test.pid, test.parent, test.v)
		}
		if looks != test.looks {
			t.Errorf("%s: %d looks, want %d", name, looks, test.looks)
		}
	}
	s := newSweep()
	s.until = time.Now().Add(-time.Second) // it has waited enough
	looks := 0
	for ; s.goesOn(); looks++ {
		s.note(alive, self, unclear)
	}
	if looks != 1 {
		t.Errorf("out of patience: %d looks, want 1", looks)
	}
	s = newSweep()
	for pid := nobody; s.goesOn(); pid++ { // somebody else each time
		looks++
		s.note(pid, self, stranger)
	}
	if looks != 1+sweepVain {
		t.Errorf("in vain: %d looks, want %d", looks-1, sweepVain)
	}
}

// The number of a child that was reaped may be another process's.
func TestSignalAfterTheEnd(t *testing.T) {
	t.Parallel()
	bystander := sleeper(t, "bystander").Process.Pid
	p := &process{pid: bystander, reaped: true}
	if err := p.signal(syscall.SIGKILL); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("signal = %v, want os.ErrProcessDone", err)
	}
	p.signalGroup(syscall.SIGKILL)
	if s, err := readStat(bystander); err != nil || s.dead() {
		t.Errorf("somebody else was hit: %+v, %v", s, err)
	}
	if err := p.signal(foreignSignal{}); err == nil || !strings.Contains(err.Error(), "foreign") {
		t.Errorf("a signal that is none: %v", err)
	}
}

type foreignSignal struct{}

func (foreignSignal) String() string { return "foreign" }
func (foreignSignal) Signal()        {}

// Notifications are heard from the child's tree, and from its dead if their user
// is the child's or ours.
func TestSent(t *testing.T) {
	t.Parallel()
	const noPID = 5_000_000 // above the largest number of a process
	child := sleeper(t, "child").Process.Pid
	self := uint32(os.Geteuid())
	p := &process{pid: child, uid: 12345, cookie: "none"}
	for name, test := range map[string]struct {
		from sender
		want bool
	}{
		"the child":             {sender{known: true, pid: child, uid: self}, true},
		"who is not known":      {sender{}, false},
		"no process":            {sender{known: true, uid: self}, false},
		"this process":          {sender{known: true, pid: os.Getpid(), uid: self}, false},
		"the first one":         {sender{known: true, pid: 1, uid: self}, false},
		"a dead one of ours":    {sender{known: true, pid: noPID, uid: self}, true},
		"a dead one of its":     {sender{known: true, pid: noPID, uid: 12345}, true},
		"a dead one of another": {sender{known: true, pid: noPID, uid: 54321}, false},
	} {
		if got := p.sent(test.from); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
	if !hangsBelow(child, os.Getpid()) || hangsBelow(os.Getpid(), child) || hangsBelow(noPID, child) {
		t.Error("hangsBelow takes one for the other")
	}
}

// After the child's end a notification socket is read to its end, and a
// stranger that goes on sending does not keep it open.
func TestNotifySocketAfterTheEnd(t *testing.T) {
	t.Parallel()
	s, err := newNotifySocket(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	for _, text := range []string{"one", "two", "three"} {
		if err := sendDatagram(s.address, text); err != nil {
			t.Fatal(err)
		}
	}
	s.drain()
	s.budget = 2
	for _, want := range []string{"one", "two"} {
		if n, err := s.next(); err != nil || n.text != want || n.sender.pid != os.Getpid() {
			t.Errorf("next = %+v, %v, want %q from this process", n, err, want)
		}
	}
	if n, err := s.next(); !errors.Is(err, io.EOF) {
		t.Errorf("over the budget: %+v, %v", n, err)
	}
	s.budget = 2
	if n, err := s.next(); err != nil || n.text != "three" {
		t.Errorf("next = %+v, %v", n, err)
	}
	if n, err := s.next(); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %+v, %v", n, err)
	}
}

func sendDatagram(address, text string) error {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	return syscall.Sendto(fd, []byte(text), 0, &syscall.SockaddrUnix{Name: address})
}

// A limit of whatever kind is told by its name where all of them are.
func TestLimitNames(t *testing.T) {
	t.Parallel()
	all := Limits{NoFile: 1, NProc: 1, Core: -1, AddressSpace: 1, Memory: 1, PIDs: 1, Nice: 1, Umask: -1}
	if got, want := all.names(), "nofile, nproc, core, addressSpace, memory, pids, nice, umask"; got != want {
		t.Errorf("names = %q, want %q", got, want)
	}
	if got := all.OfProcess().names(); got != "nofile, nproc, core, addressSpace, nice, umask" {
		t.Errorf("of a process: %q", got)
	}
	if got := (Limits{}).names(); got != "" {
		t.Errorf("of none: %q", got)
	}
}
