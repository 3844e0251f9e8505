// Package logs writes log files that stay small and whole, splits output in
// lines, and follows a log while it is written and rotated.
//
//	w, err := logs.Open(path, logs.Limits{MaxSize: 10 << 20, MaxFiles: 30})
//	if err != nil {
//		return err
//	}
//	defer w.Close()
//	slog.New(slog.NewTextHandler(w, nil)).Info("hello")
//
// # Rotation
//
// A file that would outgrow its limit is renamed to NAME.000001, the next one
// to NAME.000002, and so on, between two lines and never inside one. So is one
// that is too old, when it is written next. A rotated
// file is compressed to NAME.000001.gz by a goroutine that exists only while
// there is something to compress, at the lowest priority on Linux. Nothing wakes up while nobody writes.
//
// The rotator is our own because timberjack, the one worth having, counts in
// megabytes and days, fixes its limits at the first write, keeps a goroutine,
// fails the producer's write, and does not notice that its file is gone.
//
// # Trouble
//
// A producer is never failed or blocked because of its log: what cannot be
// written is dropped and counted ([Writer.Stats]), a line that was written in
// part is taken back, and each write tries again.
package logs

import "time"

// Limits bounds a log. The zero value sets no bound. With MaxSize and MaxFiles
// set, a log never takes more than MaxFiles+2 times MaxSize: the current file,
// the rotated ones, and the copy that a compression is making. (A single line
// longer than MaxSize makes a file of its own size.)
type Limits struct {
	MaxSize  int64 // bytes of one file; 0: no rotation
	MaxFiles int   // rotated files to keep; 0: all
	Plain    bool  // leave rotated files as they are, uncompressed
	// RotateEvery is the age of the current file at which the next write rotates
	// it; 0: only its size counts. A file begins when it is made, as the file
	// system tells, so that this holds across restarts. On one that does not
	// tell, it begins when a Writer first opens it. An empty file has not begun.
	RotateEvery time.Duration
	MaxAge      time.Duration // since its last line, after which a rotated file is removed (the newest: emptied) at the next opening or rotation; 0: no limit
}

// Stats counts what a [Writer] did since it was made.
type Stats struct {
	Bytes        int64 // written
	DroppedLines int64
	DroppedBytes int64
	LastError    error // the latest trouble, also when it is over; nil: none yet
}
