//go:build darwin || freebsd || netbsd

package logs

import (
	"io/fs"
	"os"
	"syscall"
	"time"
)

// birth returns when a file was made, if its file system knows.
func birth(_ *os.File, info fs.FileInfo) (time.Time, bool) {
	born := time.Unix(info.Sys().(*syscall.Stat_t).Birthtimespec.Unix())
	return born, born.Unix() > 0
}
