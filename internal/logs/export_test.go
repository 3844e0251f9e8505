package logs

// WaitCompressed waits until there is nothing more to compress.
func (w *Writer) WaitCompressed() { w.done.Wait() }
