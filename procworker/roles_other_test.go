//go:build !linux

package procworker_test

var linuxRoles map[string]func(string) int
