package project

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
)

// maxID is the length of the longest id, in bytes. The ancestor made ids of the
// names of two directories; of a file name, 255 bytes, the logs need a part.
const maxID = 200

const idAllowed = `1 to 200 letters, digits, ".", "_" and "-", beginning with a letter, a digit or "_"`

// ValidateID returns nil if id may name a project: 1 to 200 ASCII letters,
// digits, ".", "_" and "-", of which the first is neither "." nor "-". An id is
// part of a file name (logs/projects/ID.log) and an argument on command lines.
func ValidateID(id string) error {
	if !validID(id) {
		return fmt.Errorf("%q cannot be a project's id: use %s", id, idAllowed)
	}
	return nil
}

func validID(id string) bool {
	if id == "" || len(id) > maxID || id[0] == '.' || id[0] == '-' {
		return false
	}
	for i := range len(id) {
		if !idByte(id[i]) {
			return false
		}
	}
	return true
}

func idByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		c == '.' || c == '_' || c == '-'
}

// DefaultID returns a valid id made of the base name of dir: in lower case, with
// a "-" for each stretch that an id cannot have. It is "project" if nothing of
// the name is left. The id may be taken.
func DefaultID(dir string) string {
	name := strings.ToLower(filepath.Base(dir))
	var b strings.Builder
	for i := range len(name) {
		switch {
		case idByte(name[i]):
			b.WriteByte(name[i])
		case !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	id := strings.TrimLeft(b.String(), ".-")
	id = strings.TrimRight(id[:min(len(id), maxID)], ".-")
	if id == "" {
		return "project"
	}
	return id
}

// What [errors.Is] finds in the errors of [Registry].
var (
	ErrExists   = errors.New("project exists already")
	ErrNotFound = errors.New("no such project")
)

// An ExistsError says that an id is taken. It matches [ErrExists].
type ExistsError struct {
	ID   string
	Path string // of the project that has the id
}

// Error names the id, its owner and the way out.
func (e *ExistsError) Error() string {
	return fmt.Sprintf("project %q exists already (%s): choose another id with --id, or change that one with \"poppobuilder project set %s\"",
		e.ID, e.Path, e.ID)
}

// Is reports whether target is [ErrExists].
func (e *ExistsError) Is(target error) bool { return target == ErrExists }

// A NotFoundError says that there is no project of that id. It matches
// [ErrNotFound].
type NotFoundError struct {
	ID      string
	Nearest string // the id that was perhaps meant; may be empty
}

// Error names the id and, where one is near, the id that was perhaps meant.
func (e *NotFoundError) Error() string {
	if e.Nearest != "" {
		return fmt.Sprintf("no project %q: did you mean %q?", e.ID, e.Nearest)
	}
	return fmt.Sprintf("no project %q: see \"poppobuilder project list\"", e.ID)
}

// Is reports whether target is [ErrNotFound].
func (e *NotFoundError) Is(target error) bool { return target == ErrNotFound }

// nearest returns the candidate that takes the fewest edits to become name, if
// they are at most a third of name's length, and at least one may be made.
func nearest(name string, candidates []string) string {
	best, limit := "", max(1, len(name)/3)+1
	for _, c := range candidates {
		if d := distance(strings.ToLower(name), strings.ToLower(c)); d < limit {
			best, limit = c, d
		}
	}
	return best
}

// distance counts the insertions, deletions, substitutions and swaps of
// neighbours that make b of a (optimal string alignment).
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range len(b) + 1 {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
