package worker_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/poppobuilder/poppobuilder/internal/worker"
	"github.com/poppobuilder/poppobuilder/procworker/ipc"
)

// roleVar makes the test binary play one of the programs below: its name,
// and arguments.
const roleVar = "WORKER_TEST_ROLE"

// readyVar names a descriptor that a program closes when it is ready.
const readyVar = "WORKER_TEST_READY_FD"

// play plays a program and returns its exit code. Most of them say "ready"
// when they are.
func play(role string) int {
	name, rest, _ := strings.Cut(role, " ")
	switch name {
	case "worker": // the worker itself
		return runWorker(worker.Options{ID: 7})
	case "worker-without-reaper":
		return runWorker(worker.Options{}.WithoutReaper())
	case "worker-with-heartbeat":
		return runWorker(worker.Options{Heartbeat: time.Millisecond})

	case "say": // says something on both streams
		fmt.Println("stdout")
		fmt.Fprintln(os.Stderr, "stderr")
		fmt.Print("no newline")
		code, _ := strconv.Atoi(rest)
		return code
	case "lines": // says many lines
		n, _ := strconv.Atoi(rest)
		for i := range n {
			fmt.Printf("line %07d\n", i)
		}
		return 0
	case "raise": // signals itself
		_ = unix.Kill(os.Getpid(), unix.SignalNum(rest))
	case "environ":
		fmt.Println(strings.Join(os.Environ(), "\n"))
		return 0
	case "descriptors": // tells what it knows about the ones it got
		return describeDescriptors()
	case "burn": // uses processor time
		return burn()
	case "leave": // starts another program and ends
		how, other, _ := strings.Cut(rest, " ")
		return startOther(how, other)

	// These do not end by themselves.
	case "block":
		ready()
	case "ignore": // also answers TERM with no
		term := make(chan os.Signal, 1)
		signal.Notify(term, syscall.SIGTERM)
		ready()
		for range term {
			fmt.Println("no")
		}
	case "polite": // exits with code 3 after TERM
		term := make(chan os.Signal, 1)
		signal.Notify(term, syscall.SIGTERM)
		ready()
		<-term
		fmt.Println("bye")
		return 3
	case "with": // starts another program first
		how, other, _ := strings.Cut(rest, " ")
		if code := startOther(how, other); code != 0 {
			return code
		}
	case "stop": // stops, like a background program that reads its terminal
		ready()
		_ = unix.Kill(os.Getpid(), unix.SIGSTOP)
	default:
		fmt.Fprintf(os.Stderr, "no program %q\n", name)
		return 2
	}
	// Not select{}, which the runtime takes for a deadlock.
	<-time.After(10 * time.Minute)
	return 0
}

func runWorker(o worker.Options) int {
	o.Stderr = os.Stderr
	conn, err := ipc.FromEnv()
	if err == nil {
		err = worker.Run(context.Background(), conn, o)
	}
	if err == nil {
		err = goleak.Find()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func ready() {
	fmt.Println("ready")
	if fd, err := strconv.Atoi(os.Getenv(readyVar)); err == nil {
		os.NewFile(uintptr(fd), "ready").Close()
	}
}

// startOther starts a program and waits until it is ready. It becomes a
// process of the same group ("plain"), of a session of its own ("setsid"), or
// one that has let go of the output as well ("daemon").
func startOther(how, role string) int {
	r, w, err := os.Pipe()
	if err != nil {
		return 2
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleVar+"="+role, readyVar+"=3")
	cmd.ExtraFiles = []*os.File{w}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: how != "plain"}
	if how != "daemon" {
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	}
	if err := cmd.Start(); err != nil {
		return 2
	}
	w.Close()
	_, _ = io.Copy(io.Discard, r)
	ready()
	return 0
}

func describeDescriptors() int {
	input, err := io.ReadAll(os.Stdin)
	fmt.Printf("input %q %v\n", input, err)
	flags, err := unix.FcntlInt(1, unix.F_GETFL, 0)
	fmt.Printf("non-blocking %t %v\n", flags&unix.O_NONBLOCK != 0, err)
	for fd := 3; fd < 100; fd++ {
		if _, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err == nil {
			fmt.Printf("socket %d\n", fd)
		}
	}
	return 0
}

func burn() int {
	var ru syscall.Rusage
	for ru.Utime.Nano() < int64(60*time.Millisecond) {
		for range 1_000_000 {
			ru.Ixrss ^= 1
		}
		_ = syscall.Getrusage(syscall.RUSAGE_SELF, &ru)
	}
	ready()
	return 0
}
