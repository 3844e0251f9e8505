package runs

import bolt "go.etcd.io/bbolt"

// SetFormat makes the file one of another version.
func SetFormat(d *DB, format string) error {
	return d.file.update(func(tx *bolt.Tx) error {
		return tx.Bucket(bucketMeta).Put(keyFormat, seal(keyFormat, []byte(format)))
	})
}
