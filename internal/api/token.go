package api

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// ErrTokenExposed says that other users could have read the token. A new one
// has taken its place.
var ErrTokenExposed = errors.New("other users could read the API token, so that it was replaced by a new one")

// Bounds of a token's length in bytes.
const (
	minToken = 32
	maxToken = 512
)

// LoadToken reads the token for TCP from a file. When there is none it makes
// one of 32 random bytes, in hexadecimal, with mode 0600. A token of the user's
// own has 32 to 512 printable ASCII characters without spaces.
//
// A token that the group or others could read, or that another user has
// written, is worth nothing: it is replaced, and the new one comes back together
// with an error that is [ErrTokenExposed], for the caller to report before it
// goes on.
//
// Two processes must not call it at once: the caller holds the daemon's pid file.
func LoadToken(path string) (string, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return createToken(path)
	}
	if err != nil {
		return "", fmt.Errorf("read API token: %w", err)
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("read API token: %s is not a file; remove it", path)
	}
	if why := exposure(info); why != "" {
		token, err := createToken(path)
		if err != nil {
			return "", err
		}
		return token, fmt.Errorf("%w (%s %s)", ErrTokenExposed, path, why)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read API token: %w", err)
	}
	token := strings.TrimRight(string(data), "\r\n")
	if !validToken(token) {
		return "", fmt.Errorf("read API token: %s does not hold one (%d to %d printable characters without spaces); remove the file to get a new one",
			path, minToken, maxToken)
	}
	return token, nil
}

// exposure says why others than this user may know the token, or "".
func exposure(info fs.FileInfo) string {
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Sprintf("had mode %04o", mode)
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && int(owner.Uid) != os.Geteuid() {
		return fmt.Sprintf("belonged to the user with id %d", owner.Uid)
	}
	return ""
}

func validToken(token string) bool {
	return len(token) >= minToken && len(token) <= maxToken &&
		!strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' })
}

// createToken writes beside path and renames, so that path never holds half a
// token, nor one that others have already opened.
func createToken(path string) (string, error) {
	random := make([]byte, 32)
	rand.Read(random) // never fails
	token := hex.EncodeToString(random)
	if err := replaceFile(path, token+"\n"); err != nil {
		return "", fmt.Errorf("write API token: %w", err)
	}
	return token, nil
}

func replaceFile(path, content string) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}
