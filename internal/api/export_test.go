package api

import (
	"context"
	"encoding/json"
	"errors"
)

// WithPeer makes a request come from a unix socket, with a user at the other
// end, or with one who is not known when uid is negative.
func WithPeer(ctx context.Context, uid int) context.Context {
	p := peer{uid: uid}
	if uid < 0 {
		p = peer{err: errors.New("no credentials")}
	}
	return context.WithValue(ctx, peerKey{}, p)
}

// MergePatch applies a JSON merge patch, object to object.
func MergePatch(target, patch string) (string, error) {
	var t, p object
	if err := errors.Join(json.Unmarshal([]byte(target), &t), json.Unmarshal([]byte(patch), &p)); err != nil {
		return "", err
	}
	return string(mergePatch(t, p).raw()), nil
}
