package runs

import (
	"time"

	bolt "go.etcd.io/bbolt"
)

// WithClock makes runs get old by a clock of the test's.
func WithClock(o Options, now func() time.Time, elapsed func() time.Duration) Options {
	o.clock = clock{now: now, elapsed: elapsed}
	return o
}

// SetFormat makes the file one of another version.
func SetFormat(d *DB, format string) error {
	return d.file.update(func(tx *bolt.Tx) error {
		return tx.Bucket(bucketMeta).Put(keyFormat, seal(keyFormat, []byte(format)))
	})
}
