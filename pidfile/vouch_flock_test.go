//go:build unix && (!linux || pidfile_flock)

package pidfile_test

// numbersAreVouchedFor: see the package comment for what flock cannot do.
const numbersAreVouchedFor = false
