package logs

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
)

// begin opens the current file and goes back by so many lines, copying those
// of the rotated files.
func (f *follower) begin(lines int) error {
	if lines < 0 {
		lines = math.MaxInt
	}
	oldest, err := f.openCurrent()
	if err != nil {
		return err
	}
	if f.file != nil {
		var found int
		if f.offset, found, err = seekLines(f.file, lines); err != nil {
			return err
		}
		lines -= found
	}
	return f.copyOlder(oldest, lines)
}

// openCurrent opens the current file, if there is one, and finds out which
// rotated ones are older, without a rotation in between.
func (f *follower) openCurrent() (oldest int, err error) {
	for {
		file, err := os.Open(f.path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return 0, fmt.Errorf("open log: %w", err)
		}
		f.file = file
		all, err := listRotated(f.path)
		if err != nil {
			return 0, err
		}
		f.seen = newestNumber(all)
		for isRotated(f.path, f.seen+1) {
			f.seen++
		}
		if f.isCurrent(file) {
			if len(all) > 0 {
				oldest = all[0].number
			}
			return oldest, nil
		}
		f.closeFile()
	}
}

// copyOlder copies the last lines of the rotated files.
func (f *follower) copyOlder(oldest, lines int) error {
	// Going back, the files are opened, so that they cannot be removed
	// until they are read.
	var files []*rotatedFile
	defer func() {
		for _, file := range files {
			file.Close()
		}
	}()
	skip := 0 // lines of the oldest one
	for number := f.seen; number > 0 && lines > 0; number-- {
		file, err := openRotated(f.path, number)
		if err != nil {
			return err
		}
		if file == nil && number < oldest {
			break
		}
		if file == nil {
			continue // removed
		}
		files = append(files, file)
		found, err := file.countLines()
		if err != nil {
			return err
		}
		skip = max(found-lines, 0)
		lines -= min(found, lines)
	}
	for i := len(files) - 1; i >= 0; i-- {
		if err := f.copyAfter(files[i], skip); err != nil {
			return err
		}
		skip = 0
	}
	return nil
}

// copyAfter copies a file without its first lines.
func (f *follower) copyAfter(from io.Reader, skip int) error {
	r := bufio.NewReader(from)
	for skip > 0 {
		switch _, err := r.ReadSlice('\n'); {
		case err == nil:
			skip--
		case !errors.Is(err, bufio.ErrBufferFull):
			return fmt.Errorf("read rotated log: %w", err)
		}
	}
	return f.copyAll(r)
}

// seekLines returns where the last n lines of a file begin, and how many of
// these there are.
func seekLines(file *os.File, n int) (offset int64, found int, err error) {
	info, err := file.Stat()
	if err != nil {
		return 0, 0, fmt.Errorf("read log: %w", err)
	}
	buf := make([]byte, 32<<10)
	end := info.Size() // of what has not been looked at
	lines := 0         // line ends seen, the last of which ends the last line
	for end > 0 {
		start := max(end-int64(len(buf)), 0)
		chunk := buf[:end-start]
		if _, err := file.ReadAt(chunk, start); err != nil {
			return 0, 0, fmt.Errorf("read log: %w", err)
		}
		if end == info.Size() && n > 0 && chunk[len(chunk)-1] != '\n' {
			lines++ // the last line has no end yet
		}
		for i := bytes.LastIndexByte(chunk, '\n'); i >= 0; i = bytes.LastIndexByte(chunk[:i], '\n') {
			if lines == n {
				return start + int64(i) + 1, n, nil
			}
			lines++
		}
		end = start
	}
	return 0, lines, nil
}

// wholeLines returns the whole lines at the beginning of p. A line that fills
// the buffer is passed on in pieces.
func wholeLines(p []byte, full bool) []byte {
	whole := p[:bytes.LastIndexByte(p, '\n')+1]
	if len(whole) == 0 && full {
		return p
	}
	return whole
}

// A rotatedFile reads a rotated file in either form.
type rotatedFile struct {
	io.Reader
	file     *os.File
	identity string // of the file as it was when it was the current one
}

// isRotated reports whether there is a rotated file of that number. Without
// its plain form, its compressed one is already there.
func isRotated(path string, number int) bool {
	path = rotatedPath(path, number)
	_, err := os.Stat(path)
	if err != nil {
		_, err = os.Stat(path + compressedSuffix)
	}
	return err == nil
}

// openRotated opens a rotated file, compressed or not. It returns nil if there
// is none of that number.
func openRotated(path string, number int) (*rotatedFile, error) {
	path = rotatedPath(path, number)
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return openCompressed(path + compressedSuffix)
	}
	if err != nil {
		return nil, fmt.Errorf("open rotated log: %w", err)
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("open rotated log: %w", err)
	}
	return &rotatedFile{Reader: file, file: file, identity: identity(info)}, nil
}

func openCompressed(path string) (*rotatedFile, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open rotated log: %w", err)
	}
	z, err := gzip.NewReader(file)
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("open rotated log %s: %w", path, err)
	}
	return &rotatedFile{Reader: z, file: file, identity: z.Comment}, nil
}

// is reports whether r is the rotated form of a file that is still open.
func (r *rotatedFile) is(file *os.File) bool {
	info, err := file.Stat()
	return err == nil && identity(info) == r.identity
}

// countLines counts the lines, and goes back to the beginning.
func (r *rotatedFile) countLines() (int, error) {
	lines := 0
	last := byte('\n')
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			lines += bytes.Count(buf[:n], []byte("\n"))
			last = buf[n-1]
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return 0, fmt.Errorf("read rotated log: %w", err)
		}
	}
	if last != '\n' {
		lines++
	}
	return lines, r.rewind()
}

func (r *rotatedFile) rewind() error {
	_, err := r.file.Seek(0, io.SeekStart)
	if z, ok := r.Reader.(*gzip.Reader); ok && err == nil {
		err = z.Reset(r.file)
	}
	if err != nil {
		return fmt.Errorf("read rotated log: %w", err)
	}
	return nil
}

func (r *rotatedFile) Close() error { return r.file.Close() }
