package main

import (
	"errors"
	"flag"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestIntersperse(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		args    []string
		want    []string
		wantErr string
	}{
		{name: "nothing", want: []string{"--"}},
		{name: "flags first", args: []string{"-n", "3", "a"}, want: []string{"-n", "3", "--", "a"}},
		{name: "flags last", args: []string{"a", "-n", "3", "b", "--json"}, want: []string{"-n", "3", "--json", "--", "a", "b"}},
		{name: "equals sign", args: []string{"a", "--name=x"}, want: []string{"--name=x", "--", "a"}},
		{name: "value like a flag", args: []string{"--name", "--json"}, want: []string{"--name", "--json", "--"}},
		{name: "stops at two dashes", args: []string{"a", "--json", "--", "sh", "--json", "--", "x"}, want: []string{"--json", "--", "a", "--", "sh", "--json", "--", "x"}},
		{name: "dash is an argument", args: []string{"-"}, want: []string{"--", "-"}},
		{name: "negative number is an argument", args: []string{"key", "-5"}, want: []string{"--", "key", "-5"}},
		{name: "negative number is a value", args: []string{"-n", "-5"}, want: []string{"-n", "-5", "--"}},
		{name: "unknown", args: []string{"--jsn"}, wantErr: `unknown flag "--jsn"; did you mean "--json"?`},
		{name: "unknown and nothing near", args: []string{"--colour=red"}, wantErr: `unknown flag "--colour"`},
		{name: "value missing", args: []string{"--name"}, wantErr: `flag "--name" needs a value`},
		{name: "value missing before two dashes", args: []string{"--name", "--", "x"}, wantErr: `flag "--name" needs a value`},
		{name: "help", args: []string{"a", "-h"}, wantErr: flag.ErrHelp.Error()},
		{name: "help after two dashes is not ours", args: []string{"--", "-h"}, want: []string{"--", "--", "-h"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			fs := newFlagSet("test")
			fs.Int("n", 0, "")
			fs.String("name", "", "")
			fs.Bool("json", false, "")
			got, err := intersperse(fs, tt.args)
			if errText(err) != tt.wantErr {
				t.Fatalf("error %q, want %q", errText(err), tt.wantErr)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
			if err == nil {
				if err := fs.Parse(got); err != nil {
					t.Errorf("package flag does not take %q: %v", got, err)
				}
			}
		})
	}
}

func TestSplitCommand(t *testing.T) {
	t.Parallel()
	own, command := splitCommand([]string{"dir", "--", "sh", "--", "x"})
	if diff := cmp.Diff([][]string{{"dir"}, {"sh", "--", "x"}}, [][]string{own, command}); diff != "" {
		t.Error(diff)
	}
}

func TestNearest(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, want string }{
		{"strat", "start"}, // two letters swapped
		{"sotp", "stop"},   // swapped, too
		{"statuss", "status"},
		{"relod", "reload"},
		{"STATUS", ""}, // names are lower case: six edits
		{"frobnicate", ""},
		{"", ""},
	}
	for _, tt := range tests {
		if got := nearest(tt.name, []string{"start", "stop", "restart", "status", "reload", "logs", "unit"}); got != tt.want {
			t.Errorf("nearest(%q) = %q, want %q", tt.name, got, tt.want)
		}
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	if usage, ok := errors.AsType[*usageError](err); ok {
		return usage.problem
	}
	return err.Error()
}
