package main

import (
	"fmt"
	"slices"
	"strings"
)

// suggest returns "; did you mean X?" for the candidate nearest to name, or
// nothing when none is near.
func suggest(name string, candidates []string) string {
	if best := nearest(name, candidates); best != "" {
		return fmt.Sprintf("; did you mean %q?", best)
	}
	return ""
}

// nearest returns the only candidate that begins with name, else the one that
// takes the fewest edits to become name, or "" if more than a third of it would
// have to change.
func nearest(name string, candidates []string) string {
	begun := slices.DeleteFunc(slices.Clone(candidates), func(c string) bool { return !strings.HasPrefix(c, name) })
	if slices.Sort(begun); len(slices.Compact(begun)) == 1 {
		return begun[0]
	}
	best, fewest := "", max(2, (len(name)+2)/3)+1
	for _, candidate := range candidates {
		if d := distance(name, candidate); d < fewest {
			best, fewest = candidate, d
		}
	}
	return best
}

// distance is the number of bytes to insert, delete or replace to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
