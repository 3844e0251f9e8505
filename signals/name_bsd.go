//go:build unix && !linux

package signals

// maxSignal is the highest number of the signals that every Unix has.
const maxSignal = 31
