package logs

import (
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// birth returns when a file was made, if its file system knows.
func birth(file *os.File, _ fs.FileInfo) (time.Time, bool) {
	raw, err := file.SyscallConn()
	if err != nil {
		return time.Time{}, false
	}
	var st unix.Statx_t
	err = raw.Control(func(fd uintptr) {
		if unix.Statx(int(fd), "", unix.AT_EMPTY_PATH, unix.STATX_BTIME, &st) != nil {
			st.Mask = 0 // an old kernel, or not allowed
		}
	})
	if err != nil || st.Mask&unix.STATX_BTIME == 0 {
		return time.Time{}, false
	}
	return time.Unix(st.Btime.Sec, int64(st.Btime.Nsec)), true
}
