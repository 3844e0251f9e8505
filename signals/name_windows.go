package signals

import "syscall"

// The numbers are those that package syscall makes up. Windows delivers two of them: SIGINT for Ctrl-C and Ctrl-Break,
// SIGTERM for the end of the console, the session or the machine.
const (
	maxSignal = 15
	maxNamed  = maxSignal
)

func names() [maxNamed + 1]string {
	return [...]string{
		syscall.SIGHUP:  "SIGHUP",
		syscall.SIGINT:  "SIGINT",
		syscall.SIGQUIT: "SIGQUIT",
		syscall.SIGILL:  "SIGILL",
		syscall.SIGTRAP: "SIGTRAP",
		syscall.SIGABRT: "SIGABRT",
		syscall.SIGBUS:  "SIGBUS",
		syscall.SIGFPE:  "SIGFPE",
		syscall.SIGKILL: "SIGKILL",
		syscall.SIGSEGV: "SIGSEGV",
		syscall.SIGPIPE: "SIGPIPE",
		syscall.SIGALRM: "SIGALRM",
		syscall.SIGTERM: "SIGTERM",
	}
}

func nameOf(sig syscall.Signal) string {
	if sig < 0 || sig > maxNamed {
		return ""
	}
	return names()[sig]
}

func numberOf(name string) syscall.Signal {
	for n, known := range names() {
		if known == name {
			return syscall.Signal(n)
		}
	}
	return 0
}
