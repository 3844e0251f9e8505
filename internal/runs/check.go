package runs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math"
)

// bbolt believes what it reads: on a page that is damaged it panics, recurses
// for ever or allocates what it finds there. So the whole file is checked before
// bbolt sees it, by reading it once from front to back of each tree. The layout
// is that of version 2 of bolt's format; numbers are in the machine's order.
//
//	page     id u64, flags u16, count u16, overflow u32, then elements, then data
//	branch   elements: pos u32, ksize u32, page u64
//	leaf     elements: flags u32, pos u32, ksize u32, vsize u32
//	         flag 1: the value is a bucket: root u64, sequence u64, and if the
//	         root is 0, a page that is no page of the file but stands right here
//	freelist u64s; if count is 0xffff, the first one is the count
//	meta     magic u32, version u32, page size u32, flags u32, root bucket u64 u64,
//	         freelist u64, pages u64, transaction u64, checksum u64
//
// A pos counts from the beginning of its element.
const (
	pageHeader = 16
	branchElem = 16
	leafElem   = 16
	bucketHead = 16
	metaSize   = 64

	flagBranch   = 0x01
	flagLeaf     = 0x02
	flagFreelist = 0x10
	leafIsBucket = 0x01

	boltMagic   = 0xED0CDAED
	boltVersion = 2
	noFreelist  = math.MaxUint64

	maxDepth = 32
)

var order = binary.NativeEndian

// A checker reads a bolt file without trusting it.
type checker struct {
	file     io.ReaderAt
	size     int64
	pageSize int
	pages    uint64 // how many the file has
	seen     []bool // pages that belong to something
	buffers  [maxDepth + 2][]byte

	// visit is called for every key and value, which it must not keep. Its error
	// is the key's damage.
	visit func(bucket string, key, value []byte) error
	// damaged is told what is wrong. If it returns an error the check ends with
	// it; else it goes on with what comes next.
	damaged func(error) error
}

// A meta is what the check needs of a meta page.
type meta struct {
	pageSize                      uint32
	root, freelist, pages, number uint64
}

// run checks the whole file.
func (c *checker) run() error {
	m, err := c.meta()
	if err != nil {
		return c.damaged(err)
	}
	c.pageSize, c.pages = int(m.pageSize), m.pages
	if have := uint64(c.size) / uint64(c.pageSize); have < c.pages {
		if err := c.damaged(fmt.Errorf("it ends after %d of %d pages", have, c.pages)); err != nil {
			return err
		}
		c.pages = have
	}
	c.seen = make([]bool, c.pages)
	for i := range min(2, c.pages) {
		c.seen[i] = true
	}
	if err := c.tree(m.root, "", nil, nil, 0); err != nil {
		return err
	}
	if m.freelist == noFreelist {
		return nil
	}
	if err := c.freelist(m.freelist); err != nil {
		return c.damaged(err)
	}
	return nil
}

// used returns how many pages belong to something.
func (c *checker) used() (n uint64) {
	for _, s := range c.seen {
		if s {
			n++
		}
	}
	return n
}

// meta returns the newer of the two metas, or the one that is whole.
func (c *checker) meta() (meta, error) {
	first, errFirst := c.readMeta(0)
	if errFirst == nil {
		second, err := c.readMeta(int64(first.pageSize))
		if err == nil && second.number > first.number {
			return second, nil
		}
		return first, nil
	}
	for size := int64(1024); size <= 64<<10; size *= 2 {
		if second, err := c.readMeta(size); err == nil && int64(second.pageSize) == size {
			return second, nil
		}
	}
	return meta{}, errFirst
}

func (c *checker) readMeta(at int64) (meta, error) {
	var b [pageHeader + metaSize]byte
	if _, err := c.file.ReadAt(b[:], at); err != nil {
		return meta{}, fmt.Errorf("read a meta page: %w", err)
	}
	raw := b[pageHeader:]
	sum := fnv.New64a()
	sum.Write(raw[:metaSize-8])
	m := meta{
		pageSize: order.Uint32(raw[8:]),
		root:     order.Uint64(raw[16:]),
		freelist: order.Uint64(raw[32:]),
		pages:    order.Uint64(raw[40:]),
		number:   order.Uint64(raw[48:]),
	}
	switch {
	case order.Uint32(raw) != boltMagic, order.Uint32(raw[4:]) != boltVersion:
		return meta{}, errors.New("it is no file of runs")
	case order.Uint64(raw[56:]) != sum.Sum64():
		return meta{}, errors.New("both meta pages are damaged")
	case m.pageSize < 1024, m.pageSize > 64<<10, m.pageSize&(m.pageSize-1) != 0:
		return meta{}, fmt.Errorf("pages of %d bytes", m.pageSize)
	}
	return m, nil
}

// page reads a page with its overflow, and takes it as used. What it returns is
// good until the next page of that depth.
func (c *checker) page(id uint64, depth int) ([]byte, error) {
	if id >= c.pages {
		return nil, fmt.Errorf("page %d is outside", id)
	}
	b, at := c.buffer(depth, c.pageSize), int64(id)*int64(c.pageSize)
	if _, err := c.file.ReadAt(b, at); err != nil {
		return nil, fmt.Errorf("read page %d: %w", id, err)
	}
	n := uint64(order.Uint32(b[12:])) + 1
	if order.Uint64(b) != id || n > c.pages-id {
		return nil, fmt.Errorf("page %d is damaged", id)
	}
	for i := id; i < id+n; i++ {
		if c.seen[i] {
			return nil, fmt.Errorf("page %d is in use twice", i)
		}
		c.seen[i] = true
	}
	if n > 1 {
		b = c.buffer(depth, int(n)*c.pageSize)
		if _, err := c.file.ReadAt(b, at); err != nil {
			return nil, fmt.Errorf("read page %d: %w", id, err)
		}
	}
	return b, nil
}

func (c *checker) buffer(depth, size int) []byte {
	if cap(c.buffers[depth]) < size {
		c.buffers[depth] = make([]byte, size)
	}
	return c.buffers[depth][:size]
}

// tree checks what hangs below a page. All keys are at least low and, unless
// that is nil, less than high.
func (c *checker) tree(id uint64, bucket string, low, high []byte, depth int) error {
	if depth > maxDepth {
		return c.damaged(fmt.Errorf("page %d is too deep", id))
	}
	b, err := c.page(id, depth)
	if err != nil {
		return c.damaged(err)
	}
	switch order.Uint16(b[8:]) {
	case flagBranch:
		return c.branch(b, bucket, low, high, depth)
	case flagLeaf:
		return c.leaf(b, bucket, low, high)
	}
	return c.damaged(fmt.Errorf("page %d is of no kind", id))
}

func (c *checker) branch(b []byte, bucket string, low, high []byte, depth int) error {
	count := int(order.Uint16(b[10:]))
	if count == 0 || pageHeader+count*branchElem > len(b) {
		return c.damaged(errors.New("a branch page is damaged"))
	}
	key := func(i int) []byte {
		at := pageHeader + i*branchElem
		return cut(b, at, order.Uint32(b[at:]), order.Uint32(b[at+4:]))
	}
	for i := range count {
		k, next := key(i), high
		if i+1 < count {
			next = key(i + 1)
		}
		if k == nil || i+1 < count && next == nil || !within(k, low, high) || next != nil && bytes.Compare(k, next) >= 0 {
			if err := c.damaged(errors.New("a key of a branch page is damaged")); err != nil {
				return err
			}
			k, next = low, high
		}
		child := order.Uint64(b[pageHeader+i*branchElem+8:])
		if err := c.tree(child, bucket, k, next, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) leaf(b []byte, bucket string, low, high []byte) error {
	count := int(order.Uint16(b[10:]))
	if pageHeader+count*leafElem > len(b) {
		return c.damaged(errors.New("a leaf page is damaged"))
	}
	var before []byte
	for i := range count {
		if err := c.element(b, pageHeader+i*leafElem, bucket, &before, low, high); err != nil {
			return err
		}
	}
	return nil
}

// element checks the key and value of the element at b[at:].
func (c *checker) element(b []byte, at int, bucket string, before *[]byte, low, high []byte) error {
	pos, ksize, vsize := order.Uint32(b[at+4:]), order.Uint32(b[at+8:]), order.Uint32(b[at+12:])
	k := cut(b, at, pos, ksize)
	if k == nil || ksize == 0 || !within(k, low, high) || *before != nil && bytes.Compare(*before, k) >= 0 {
		return c.damaged(errors.New("a key is damaged"))
	}
	*before = k
	v := cut(b, at+int(ksize), pos, vsize)
	if v == nil {
		return c.damaged(errors.New("a value is damaged"))
	}
	isBucket := order.Uint32(b[at:]) == leafIsBucket
	if isBucket != (bucket == "") || !isBucket && order.Uint32(b[at:]) != 0 {
		return c.damaged(errors.New("an element is of no kind"))
	}
	if isBucket {
		return c.bucket(string(k), v)
	}
	if err := c.visit(bucket, k, v); err != nil {
		return c.damaged(err)
	}
	return nil
}

// bucket checks a bucket by its value in the root.
func (c *checker) bucket(name string, v []byte) error {
	if len(v) < bucketHead {
		return c.damaged(errors.New("a bucket is damaged"))
	}
	if root := order.Uint64(v); root != 0 {
		return c.tree(root, name, nil, nil, 1)
	}
	inline := v[bucketHead:]
	if len(inline) < pageHeader || order.Uint16(inline[8:]) != flagLeaf {
		return c.damaged(errors.New("a small bucket is damaged"))
	}
	return c.leaf(inline, name, nil, nil)
}

func (c *checker) freelist(id uint64) error {
	b, err := c.page(id, maxDepth+1)
	if err != nil {
		return err
	}
	if order.Uint16(b[8:]) != flagFreelist {
		return errors.New("the list of free pages is damaged")
	}
	ids := b[pageHeader:]
	count := uint64(order.Uint16(b[10:]))
	if count == 0xffff {
		count, ids = order.Uint64(ids), ids[8:]
	}
	if count > uint64(len(ids)/8) {
		return errors.New("the list of free pages is damaged")
	}
	free := make([]bool, c.pages)
	for i := range count {
		p := order.Uint64(ids[8*i:])
		if p >= c.pages || c.seen[p] || free[p] {
			return errors.New("the list of free pages is damaged")
		}
		free[p] = true
	}
	return nil
}

// cut returns the size bytes at b[at+pos:], or nil if b has none.
func cut(b []byte, at int, pos, size uint32) []byte {
	from := uint64(at) + uint64(pos)
	if from+uint64(size) > uint64(len(b)) {
		return nil
	}
	return b[from : from+uint64(size) : from+uint64(size)]
}

func within(k, low, high []byte) bool {
	return (low == nil || bytes.Compare(k, low) >= 0) && (high == nil || bytes.Compare(k, high) < 0)
}
