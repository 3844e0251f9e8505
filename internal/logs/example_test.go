package logs_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/poppobuilder/poppobuilder/internal/logs"
)

func ExampleOpen() {
	dir, err := os.MkdirTemp("", "logs")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)

	w, err := logs.Open(filepath.Join(dir, "daemon.log"), logs.Limits{MaxSize: 10 << 20, MaxFiles: 30})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer w.Close()
	withoutTime := func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}
	slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{ReplaceAttr: withoutTime})).Info("hello")
	fmt.Println(w.Stats().Bytes, "bytes")
	// Output: 21 bytes
}

func ExampleFollow_lastLines() {
	dir, err := os.MkdirTemp("", "logs")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)

	// With room for one line in a file, the lines are in three of them.
	path := filepath.Join(dir, "a.log")
	w := logs.New(path, logs.Limits{MaxSize: 6})
	fmt.Fprint(w, "one\ntwo\nthree\n")
	w.Close()

	err = logs.Follow(context.Background(), os.Stdout, path, logs.FollowOptions{Lines: 2})
	fmt.Println(err)
	// Output:
	// two
	// three
	// <nil>
}
