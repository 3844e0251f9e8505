//go:build !linux

package logs_test

func starve(string) int { return 2 }
