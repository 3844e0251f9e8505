//go:build unix && !linux

package pidfile_test

import "github.com/poppobuilder/poppobuilder/pidfile"

var waiters = []waiter{{"looking", pidfile.Wait}}
