//go:build linux && !pidfile_flock

package pidfile_test

// numbersAreVouchedFor says that a number is never taken for that of a holder who did not write it.
const numbersAreVouchedFor = true
