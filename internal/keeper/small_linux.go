package keeper

import (
	"os"
	"runtime"
	"runtime/debug"
)

// beSmall gives back what the start of the program has taken, and asks the
// kernel to spare this process when memory is short. That needs a privilege:
// without it, a keeper is still the smallest of the daemon's processes.
func beSmall() {
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(20)
	debug.FreeOSMemory()
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("-900"), 0)
}
