package main

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
)

// cli is one run of the program: what its commands share.
type cli struct {
	program
	out  *stickyWriter // Stdout
	json bool          // print data and errors as JSON
}

// printf writes data for people to the standard output.
func (c *cli) printf(format string, args ...any) {
	fmt.Fprintf(c.Stdout, format, args...)
}

// notef writes one message to the standard error.
func (c *cli) notef(format string, args ...any) {
	fmt.Fprintf(c.Stderr, format+"\n", args...)
}

// printJSON writes v as one line to the standard output.
func (c *cli) printJSON(v any) error {
	enc := json.NewEncoder(c.Stdout)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// result writes v where JSON was asked for, else the sentence.
func (c *cli) result(v any, format string, args ...any) error {
	if c.json {
		return c.printJSON(v)
	}
	c.printf(format+"\n", args...)
	return nil
}

// table writes rows of cells that end with tabs, as [tabwriter] takes them.
func (c *cli) table(write func(w io.Writer)) error {
	tw := tabwriter.NewWriter(c.Stdout, 0, 0, 2, ' ', 0)
	write(tw)
	return tw.Flush()
}

// stickyWriter remembers the first error, so that a program whose output went
// nowhere does not exit with 0.
type stickyWriter struct {
	io.Writer
	err error
}

func (w *stickyWriter) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	if err != nil && w.err == nil {
		w.err = err
	}
	return n, err
}
