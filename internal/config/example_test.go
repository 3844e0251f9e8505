package config_test

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/poppobuilder/poppobuilder/internal/config"
)

func ExampleLoad() {
	loaded, err := config.Load(config.Options{
		Args:    []string{"--daemon.maxProcesses=4"},
		Environ: []string{"POPPOBUILDER_DAEMON_MAXPROCESSES=3", "POPPOBUILDER_DAEMON_SHUTDOWNTIMEOUT=1m"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(loaded.Daemon.MaxProcesses, loaded.Origins["daemon.maxProcesses"])
	fmt.Println(loaded.Daemon.ShutdownTimeout, loaded.Origins["daemon.shutdownTimeout"])
	fmt.Println(loaded.Logging.Level, loaded.Origins["logging.level"])
	// Output:
	// 4 flag --daemon.maxProcesses
	// 1m0s environment POPPOBUILDER_DAEMON_SHUTDOWNTIMEOUT
	// info default
}

func ExampleLoad_faults() {
	_, err := config.Load(config.Options{
		Args: []string{"--daemon.maxProcesses=40", "--logging.level=warning"}, Environ: []string{},
	})
	fmt.Println(err)
	// Output:
	// 2 faults in the settings:
	//   --daemon.maxProcesses: daemon.maxProcesses: 40 is out of range (allowed: a whole number from 1 to 10)
	//   --logging.level: logging.level: unknown value "warning" (allowed: one of debug, info, warn, error)
}

func ExampleSet() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "config.json")
	text := `{
  "daemon": {
    "maxProcesses": 2, // a small machine
  },
}
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		fmt.Println(err)
		return
	}
	for _, kv := range [][2]string{{"daemon.maxProcesses", "4"}, {"daemon.shutdownTimeout", "1m"}} {
		c, err := config.Set(file, kv[0], kv[1])
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%s: %s -> %s, by reload: %v\n", c.Key, c.Old, c.New, c.Live)
	}
	data, _ := os.ReadFile(file)
	fmt.Print(string(data))
	// Output:
	// daemon.maxProcesses: 2 -> 4, by reload: true
	// daemon.shutdownTimeout: 30s -> 1m, by reload: true
	// {
	//   "daemon": {
	//     "maxProcesses": 4, // a small machine
	//     "shutdownTimeout": "1m",
	//   },
	// }
}
