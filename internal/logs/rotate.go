package logs

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	compressedSuffix = ".gz"
	// unfinishedSuffix marks a compressed copy that is not complete.
	unfinishedSuffix = ".gz.tmp"
)

// rotatedPath returns the plain name of a rotated file. Numbers only grow, so
// that whoever has read one file can open the next by its name. Listing the
// directory may miss a file whose compressed form takes its place meanwhile.
func rotatedPath(path string, number int) string {
	return fmt.Sprintf("%s.%06d", path, number)
}

// parseNumber parses the number in the name of a rotated file, 0 if it is
// none.
func parseNumber(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || s != fmt.Sprintf("%06d", n) {
		return 0
	}
	return n
}

// A rotated is one rotated file of a log. Both forms exist for a moment while
// the compressed one takes the place of the plain one.
type rotated struct {
	number            int
	plain, compressed bool
}

// listRotated returns the rotated files of a log, the oldest first.
func listRotated(path string) ([]rotated, error) {
	names, err := namesOf(path)
	return rotatedAmong(names), err
}

// rotatedAmong returns the rotated files among the names next to the log, the
// oldest first.
func rotatedAmong(names []string) []rotated {
	byNumber := make(map[int]rotated)
	for _, name := range names {
		digits, compressed := strings.CutSuffix(name, compressedSuffix)
		if n := parseNumber(digits); n > 0 {
			r := byNumber[n]
			byNumber[n] = rotated{n, r.plain || !compressed, r.compressed || compressed}
		}
	}
	return slices.SortedFunc(maps.Values(byNumber), func(a, b rotated) int { return a.number - b.number })
}

// newestNumber returns the number of the newest of them, 0 without any.
func newestNumber(all []rotated) int {
	if len(all) == 0 {
		return 0
	}
	return all[len(all)-1].number
}

// namesOf returns what follows "NAME." in the names of the files next to the
// log.
func namesOf(path string) ([]string, error) {
	names, err := readNames(filepath.Dir(path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list rotated logs: %w", err)
	}
	prefix := filepath.Base(path) + "."
	ours := names[:0]
	for _, name := range names {
		if rest, ok := strings.CutPrefix(name, prefix); ok {
			ours = append(ours, rest)
		}
	}
	return ours, nil
}

func readNames(dir string) ([]string, error) {
	file, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return file.Readdirnames(-1)
}

// rotate gives the current file its final name. The next write begins a new
// one. The caller holds mu.
func (w *Writer) rotate() error {
	names, err := namesOf(w.path)
	if err != nil {
		if w.number == 0 {
			return err
		}
		w.stats.LastError = err
	}
	number := max(w.number, newestNumber(rotatedAmong(names))) + 1
	to := rotatedPath(w.path, number)
	if err := os.Rename(w.path, to); err != nil {
		return fmt.Errorf("rotate log: %w", err)
	}
	w.number = number
	_ = w.closeFile()
	if err == nil {
		w.known, w.place = true, nil
		w.tidyAmong(append(names, strings.TrimPrefix(to, w.path+".")))
	}
	return nil
}

// outlived reports whether the current file began too long ago.
func (w *Writer) outlived() bool {
	return w.limits.RotateEvery > 0 && w.now().Sub(w.begun) >= w.limits.RotateEvery
}

// tidy removes what the limits do not allow and sees that the rest gets
// compressed. The caller holds mu.
func (w *Writer) tidy() {
	if w.limits == (Limits{}) {
		return
	}
	names, err := namesOf(w.path)
	if err != nil {
		w.stats.LastError = err
		return
	}
	w.tidyAmong(names)
}

// tidyAmong is tidy for who knows the names of the files. The caller holds mu.
func (w *Writer) tidyAmong(names []string) {
	if !w.compressing {
		w.removeUnfinished(names)
	}
	all := rotatedAmong(names)
	surplus := 0
	if w.limits.MaxFiles > 0 {
		surplus = len(all) - w.limits.MaxFiles
	}
	compressible := false // at least one
	for i, r := range all {
		if i >= surplus && !w.tooOld(r) {
			compressible = compressible || r.plain && !w.limits.Plain
			continue
		}
		if i == len(all)-1 {
			w.empty(r)
			continue
		}
		if r.plain {
			w.remove(rotatedPath(w.path, r.number))
		}
		if r.compressed {
			w.remove(rotatedPath(w.path, r.number) + compressedSuffix)
		}
	}
	if compressible && !w.compressing {
		w.compressing = true
		w.done.Add(1)
		go w.compressRotated()
	}
}

// removeUnfinished removes the copies that a crash left. The caller holds mu.
func (w *Writer) removeUnfinished(names []string) {
	for _, name := range names {
		if digits, ok := strings.CutSuffix(name, unfinishedSuffix); ok && parseNumber(digits) > 0 {
			w.remove(w.path + "." + name)
		}
	}
}

// tooOld reports whether the last line of a rotated file, which is when the
// file was changed last, is too long ago.
func (w *Writer) tooOld(r rotated) bool {
	if w.limits.MaxAge <= 0 {
		return false
	}
	path := rotatedPath(w.path, r.number)
	if !r.plain {
		path += compressedSuffix
	}
	info, err := os.Stat(path)
	return err == nil && time.Since(info.ModTime()) > w.limits.MaxAge
}

// empty removes what is in the newest rotated file. Its name stays, so that
// numbers go on from there also for who does not know of it. The caller holds mu.
func (w *Writer) empty(r rotated) {
	path := rotatedPath(w.path, r.number)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		w.stats.LastError = fmt.Errorf("empty old log: %w", err)
		return
	}
	if r.compressed {
		w.remove(path + compressedSuffix)
	}
}

// remove removes a rotated file. The caller holds mu.
func (w *Writer) remove(path string) {
	err := os.Remove(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		w.stats.LastError = fmt.Errorf("remove old log: %w", err)
	}
}
