package runs

import (
	"strings"
	"time"
)

// idAlphabet is Crockford's base 32 in lower case: its order is the order of
// the bytes, and nothing in it is mistaken for something else when read aloud.
const idAlphabet = "0123456789abcdefghjkmnpqrstvwxyz"

// idLength holds 60 bits, 5 to a character.
const idLength = 12

// idSource makes ids that sort in the order in which they were made, also when
// the wall clock is set back. An id is the time in milliseconds with room for
// 4096 in each; more than that borrow from the next millisecond.
type idSource struct{ last uint64 }

func (s *idSource) next(now time.Time) string {
	s.last = max(s.last+1, uint64(now.UnixMilli())<<12)
	var id [idLength]byte
	for i, v := idLength-1, s.last; i >= 0; i, v = i-1, v>>5 {
		id[i] = idAlphabet[v&31]
	}
	return string(id[:])
}

// resume makes every id that comes sort after the given one.
func (s *idSource) resume(id string) { s.last = max(s.last, idNumber(id)) }

func idNumber(id string) (v uint64) {
	for _, c := range []byte(id) {
		v = v<<5 | uint64(strings.IndexByte(idAlphabet, c)&31)
	}
	return v
}

// idTime is when an id was made.
func idTime(id string) time.Time { return time.UnixMilli(int64(idNumber(id) >> 12)) }
