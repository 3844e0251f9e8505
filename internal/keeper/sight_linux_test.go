package keeper

import "testing"

// Who has no environment yet is not taken for one that has none.
func TestIsBare(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		start, end string
		want       bool
	}{
		{"140726285244383", "140726285244383", true},
		{"140726285244383", "140726285246444", false},
		{"0", "0", false}, // a program is being executed
		{"140726285244383", "0", false},
	} {
		if got := isBare(tt.start, tt.end); got != tt.want {
			t.Errorf("isBare(%s, %s) = %v", tt.start, tt.end, got)
		}
	}
}
