package master

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/poppobuilder/poppobuilder/internal/api"
	"github.com/poppobuilder/poppobuilder/internal/config"
	"github.com/poppobuilder/poppobuilder/internal/project"
	"github.com/poppobuilder/poppobuilder/signals"
)

// listenAsManager takes the part of the service manager. What comes back waits
// for the next state that it is told.
func listenAsManager(t *testing.T) (next func() string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "notify") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return func() string {
		t.Helper()
		buf := make([]byte, 4096)
		conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatalf("nothing was told: %v", err)
		}
		return string(buf[:n])
	}
}

// startMaster serves a daemon in a home of its own, whose workers are those of
// play. What comes back stops it and gives its error.
func startMaster(t *testing.T, kind string) (m *master, stop func() error) {
	t.Helper()
	m = &master{
		o: Options{
			Environ:       append(os.Environ(), roleVar+"=1", "GORACE=atexit_sleep_ms=0"),
			WorkerCommand: []string{os.Args[0], kind},
		},
		paths:    config.NewPaths(t.TempDir()),
		notify:   newNotifier(os.Environ()),
		stopping: make(chan struct{}),
	}
	writeFile(t, m.paths.Config, `{"daemon": {"maxProcesses": 1, "port": null}}`)
	if err := makeHome(m.paths); err != nil {
		t.Fatal(err)
	}
	if err := m.load(); err != nil {
		t.Fatal(err)
	}
	var err error
	if m.log, err = newLogger(m.paths.DaemonLog, nil, m.loaded.Logging); err != nil {
		t.Fatal(err)
	}
	if m.store, err = m.openRuns(); err != nil {
		t.Fatal(err)
	}
	router := signals.Listen(m.routes())
	m.compose()
	ended := make(chan error, 1)
	go func() { ended <- m.serve(context.Background(), nil, router) }()
	done := false
	stop = func() error {
		if done {
			return nil
		}
		done = true
		m.stop()
		err := <-ended
		router.Close()
		m.closeRuns()
		m.log.close()
		return err
	}
	t.Cleanup(func() { _ = stop() })
	return m, stop
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestManagerIsToldInOrder(t *testing.T) {
	next := listenAsManager(t)
	m, stop := startMaster(t, "good")
	if got := next(); got != "READY=1\nSTATUS=Ready" {
		t.Fatalf("told %q first", got)
	}
	if _, err := m.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := next(); !strings.HasPrefix(got, "RELOADING=1\nMONOTONIC_USEC=") {
		t.Errorf("told %q at a reload", got)
	}
	if got := next(); !strings.HasPrefix(got, "READY=1") {
		t.Errorf("told %q after it", got)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if got := next(); got != "STOPPING=1\nSTATUS=Stopping" {
		t.Errorf("told %q at the end", got)
	}
}

// A reload tells nobody that the daemon is ready before it is.
func TestReloadWhileStartingIsNoReadiness(t *testing.T) {
	next := listenAsManager(t)
	m, stop := startMaster(t, "mute")
	if _, err := m.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if got := next(); got != "STOPPING=1\nSTATUS=Stopping" {
		t.Errorf("told %q, want only that it stops", got)
	}
}

func TestStoppingIsTheLastWord(t *testing.T) {
	next := listenAsManager(t)
	n := newNotifier(os.Environ())
	n.stopping()
	n.ready()
	n.reloading()
	n.send("END=1")
	if got := next(); !strings.HasPrefix(got, "STOPPING=1") {
		t.Errorf("told %q first", got)
	}
	if got := next(); got != "END=1" {
		t.Errorf("told %q after the end", got)
	}
}

func TestWatchdogIsSilentWhileTheDispatcherIs(t *testing.T) {
	next := listenAsManager(t)
	n := newNotifier(os.Environ())
	n.watch = 2 * time.Millisecond
	answers := []error{nil, errors.New("no"), errors.New("no"), nil}
	ctx, cancel := context.WithCancel(t.Context())
	w := n.watchdog(func(context.Context) error {
		if len(answers) == 0 {
			cancel()
			return ctx.Err()
		}
		err := answers[0]
		answers = answers[1:]
		return err
	})
	if err := w.Serve(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Serve: %v", err)
	}
	n.send("END=1")
	for _, want := range []string{"WATCHDOG=1", "WATCHDOG=1", "END=1"} {
		if got := next(); got != want {
			t.Errorf("told %q, want %q", got, want)
		}
	}
	if n.watch = 0; n.watchdog(nil) != nil {
		t.Error("a watchdog that nobody asked for")
	}
}

func TestManager(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		environ []string
		want    string
	}{
		{nil, ""},
		{[]string{"NOTIFY_SOCKET=/run/x"}, api.ManagerSystemd},
		{[]string{"NOTIFY_SOCKET="}, ""},
		{[]string{"NOTIFY_SOCKET=/run/x", ManagerVariable + "=runit"}, "runit"},
		{[]string{ManagerVariable + "="}, ""},
	} {
		if got := manager(tt.environ); got != tt.want {
			t.Errorf("manager(%q) = %q, want %q", tt.environ, got, tt.want)
		}
	}
}

func TestWorkersDoNotInheritWhatIsMeantForTheDaemon(t *testing.T) {
	t.Parallel()
	got := workerEnvironment([]string{"A=1", "NOTIFY_SOCKET=/x", "WATCHDOG_USEC=1", "NODE_CHANNEL_FD=3", ManagerVariable + "=systemd", "B"})
	if want := []string{"A=1", "B"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Who asks for a reload may go away: it is done all the same, and as a whole.
func TestReloadIsNotLeftHalfDone(t *testing.T) {
	m, _ := startMaster(t, "good")
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	writeFile(t, m.paths.Config, `{"daemon": {"maxProcesses": 2, "port": null, "schedulingStrategy": "fair"}}`)
	if err := m.projects.Update(func(r *project.Registry) error {
		p := project.Project{ID: "a", Path: t.TempDir(), Enabled: true, Config: project.DefaultConfig()}
		p.Config.Command = []string{"wait"}
		return r.Add(p)
	}); err != nil {
		t.Fatal(err)
	}
	result, err := m.Reload(gone)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"daemon.maxProcesses", "daemon.schedulingStrategy"}; !slices.Equal(result.Changed, want) {
		t.Errorf("changed %q, want %q", result.Changed, want)
	}
	if got := m.Status(); got.Strategy != "fair" || len(got.Workers) != 2 || got.Projects.Total != 1 {
		t.Errorf("status says %+v", got)
	}
	if err := m.RemoveProject(gone, "a"); err != nil {
		t.Error(err)
	}
	if got := m.Projects(); len(got) != 0 {
		t.Errorf("projects are %v", got)
	}
}

func TestReloadThatIsRefusedChangesNothing(t *testing.T) {
	m, _ := startMaster(t, "good")
	writeFile(t, m.paths.Config, `{"daemon": {"maxProcesses": 99}}`)
	_, err := m.Reload(t.Context())
	var p *api.Problem
	if !errors.As(err, &p) || p.Code != api.CodeInvalidConfig {
		t.Errorf("reload of a bad file: %v", err)
	}
	entries, err := m.config(t.Context())
	if err != nil {
		t.Fatalf("the settings in force: %v", err)
	}
	for _, e := range entries.([]config.Entry) {
		if e.Key == "daemon.maxProcesses" && e.Text != "1" {
			t.Errorf("%s is %s, but 1 is in force", e.Key, e.Text)
		}
	}
}

// A handler of a signal may wait for the dispatcher while the daemon ends.
func TestReloadsDoNotHoldUpTheEnd(t *testing.T) {
	m, stop := startMaster(t, "good")
	ended := make(chan struct{})
	go func() {
		for n := 1; ; n = 3 - n {
			select {
			case <-ended:
				ended <- struct{}{}
				return
			default:
				writeFile(t, m.paths.Config, fmt.Sprintf(`{"daemon": {"port": null, "maxProcesses": %d}}`, n))
				_, _ = m.Reload(context.Background())
			}
		}
	}()
	time.Sleep(50 * time.Millisecond)
	if err := stop(); err != nil {
		t.Error(err)
	}
	ended <- struct{}{}
	<-ended
}

// A listener that fails is replaced, at the same address.
func TestEndpointListensAgain(t *testing.T) {
	port := 0
	m := &master{
		paths:  config.NewPaths(t.TempDir()),
		loaded: &config.Loaded{Settings: config.Settings{Daemon: config.Daemon{Port: &port, Host: "127.0.0.1"}}},
		log:    &logger{Logger: slog.New(slog.DiscardHandler)},
	}
	endpoints, err := m.listen()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range endpoints {
		e.server = func(l net.Listener) *api.Server {
			return &api.Server{Listener: l, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") })}
		}
		broken := e.first
		broken.Close()
		if err := e.Serve(t.Context()); err == nil || errors.Is(err, context.Canceled) {
			t.Fatalf("%s on a closed listener: %v", e, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- e.Serve(ctx) }()
		ask(t, broken.Addr())
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", e, err)
		}
	}
}

// ask asks the server at an address for its greeting, as soon as it is there.
func ask(t *testing.T, addr net.Addr) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			return net.Dial(addr.Network(), addr.String())
		},
	}}
	var err error
	for range 1000 {
		var r *http.Response
		if r, err = client.Get("http://x/"); err == nil {
			body, _ := io.ReadAll(r.Body)
			r.Body.Close()
			if string(body) != "hello" {
				t.Errorf("%v answers %q", addr, body)
			}
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Errorf("%v does not answer: %v", addr, err)
}
