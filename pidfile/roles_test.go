//go:build unix

package pidfile_test

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/poppobuilder/poppobuilder/pidfile"
)

// roles are the programs that the tests run as child processes.
var roles = map[string]func(path string){
	"starter":   roleStarter,
	"holder":    roleHolder,
	"locker":    roleLocker,
	"parent":    roleParent,
	"bystander": roleBystander,
	"full disk": roleFullDisk,
	"nobody":    roleNobody,
}

// roleStarter tries to create path at each time that it reads (nanoseconds since 1970), says how that went, and closes
// the file at the next line.
func roleStarter(path string) {
	in := bufio.NewScanner(os.Stdin)
	fmt.Println("up")
	for in.Scan() {
		at, err := strconv.ParseInt(in.Text(), 10, 64)
		if err != nil {
			panic(err)
		}
		for time.Now().UnixNano() < at { // spin: a timer would spread the starters out
		}
		f, err := pidfile.Create(path)
		var held *pidfile.HeldError
		switch {
		case err == nil:
			fmt.Println("won")
			in.Scan()
			fmt.Println("closed", f.Close())
		case errors.As(err, &held):
			fmt.Println("held by", held.PID)
		default:
			fmt.Println("error", err)
		}
	}
}

// roleHolder creates path, says each SIGUSR1 that it gets, and closes path when it reads a line, but lives on.
func roleHolder(path string) {
	got := make(chan os.Signal, 1)
	signal.Notify(got, syscall.SIGUSR1)
	f, err := pidfile.Create(path)
	fmt.Println("created", err)
	closing := make(chan struct{})
	go func() {
		bufio.NewReader(os.Stdin).ReadString('\n')
		close(closing)
	}()
	for {
		select {
		case sig := <-got:
			fmt.Println("got", sig)
		case <-closing:
			fmt.Println("closed", f.Close())
			closing = nil
		}
	}
}

// roleLocker locks path, and writes its number when it reads a line.
func roleLocker(path string) {
	f, err := pidfile.Lock(path)
	fmt.Println("locked", err)
	in := bufio.NewReader(os.Stdin)
	in.ReadString('\n')
	fmt.Println("written", f.Write())
	in.ReadString('\n')
}

// roleParent creates path and starts a child that will outlive it.
func roleParent(path string) {
	f, err := pidfile.Create(path)
	cmd := exec.Command(os.Args[0], path)
	cmd.Env = append(os.Environ(), roleEnv+"=bystander")
	cmd.Stdin, cmd.Stdout = os.Stdin, os.Stdout
	if err == nil {
		err = cmd.Start()
	}
	fmt.Println("started", err)
	cmd.Wait()
	f.Close()
}

// roleBystander does nothing until its stdin ends.
func roleBystander(string) {
	fmt.Println("here")
	bufio.NewReader(os.Stdin).ReadString('\n')
}

// roleFullDisk finds no room in the file system, and later some.
func roleFullDisk(path string) {
	signal.Ignore(syscall.SIGXFSZ) // so that writing past the limit is an error
	room := func(room bool) {
		var limit unix.Rlimit
		err := unix.Getrlimit(unix.RLIMIT_FSIZE, &limit)
		if err == nil {
			limit.Cur = 2 // bytes: less than any number that a child has
			if room {
				limit.Cur = limit.Max
			}
			err = unix.Setrlimit(unix.RLIMIT_FSIZE, &limit)
		}
		if err != nil {
			fmt.Println("limit:", err)
		}
	}
	in := bufio.NewReader(os.Stdin)
	// A pipe has no size, so what we say gets through.
	room(false)
	_, err := pidfile.Create(path)
	fmt.Println("create:", errors.Is(err, syscall.EFBIG), err)
	in.ReadString('\n')
	f, err := pidfile.Lock(path)
	fmt.Println("lock:", err)
	fmt.Println("write:", f.Write())
	in.ReadString('\n')
	room(true)
	fmt.Println("write:", f.Write())
	in.ReadString('\n')
	fmt.Println("close:", f.Close())
}

// roleNobody tries everything as a user who may not.
func roleNobody(path string) {
	const nobody = 65534
	if err := errors.Join(syscall.Setgroups(nil), syscall.Setgid(nobody), syscall.Setuid(nobody)); err != nil {
		fmt.Println("cannot become nobody:", err)
		return
	}
	info, err := pidfile.Read(path)
	fmt.Println("read:", info.State, err)
	pid, err := pidfile.Signal(path, syscall.SIGUSR1)
	fmt.Println("signal:", pid, errors.Is(err, fs.ErrPermission), err)
	_, err = pidfile.Lock(path)
	fmt.Println("lock:", errors.Is(err, fs.ErrPermission), err)
	_, err = pidfile.Lock(path + "2")
	fmt.Println("new:", errors.Is(err, fs.ErrPermission), err)
}
