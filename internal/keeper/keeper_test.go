package keeper_test

import (
	"strings"
	"testing"

	"github.com/poppobuilder/poppobuilder/internal/keeper"
)

func TestCookies(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		environ []string
		want    string
	}{
		{nil, "new"},
		{[]string{"A=b", keeper.Variable + "="}, "new"},
		{[]string{"A=b", keeper.Variable + "=outer:inner"}, "outer:inner:new"},
	} {
		if got := keeper.Cookies(tt.environ, "new"); got != tt.want {
			t.Errorf("Cookies(%q) = %q, want %q", tt.environ, got, tt.want)
		}
	}
}

func TestRunNeedsACookie(t *testing.T) {
	t.Parallel()
	for _, line := range []string{"", "\n", "cut"} {
		if err := keeper.Run(t.Context(), strings.NewReader(line), keeper.Options{}); err == nil {
			t.Errorf("a keeper guards that was told %q", line)
		}
	}
}
