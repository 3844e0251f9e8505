package ipc

// Scan is what Receive does to a line.
func Scan(line []byte) (kind string, internal, valid bool) {
	f, valid := scan(line)
	return f.kind, f.internal, valid
}
