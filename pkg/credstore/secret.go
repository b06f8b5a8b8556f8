package credstore

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"unique"
)

// masked is what every printed form of a Secret shows.
const masked = "[secret]"

// Secret is a string that must not be seen: a client secret, a password or an
// access token. Every printed form of it, in any fmt verb, JSON, text or slog,
// is masked; [Secret.Reveal] is the one way to the value. Secrets are equal when
// their values are. The zero Secret is empty.
type Secret struct {
	// A handle, because fmt prints what is in a struct for %p without asking
	// its methods, and of a handle that is an address.
	value unique.Handle[string]
}

// NewSecret wraps value.
func NewSecret(value string) Secret {
	if value == "" {
		return Secret{}
	}
	return Secret{unique.Make(value)}
}

// Reveal returns the value, for the one place that has to send or store it.
func (s Secret) Reveal() string {
	if s.IsZero() {
		return ""
	}
	return s.value.Value()
}

// IsZero reports whether there is no value.
func (s Secret) IsZero() bool { return s == Secret{} }

func (s Secret) String() string               { return masked }
func (s Secret) GoString() string             { return masked }
func (s Secret) Format(f fmt.State, _ rune)   { io.WriteString(f, masked) }
func (s Secret) MarshalText() ([]byte, error) { return []byte(masked), nil }
func (s Secret) LogValue() slog.Value         { return slog.StringValue(masked) }

// maskedError prints err without the secret that it may quote.
type maskedError struct {
	err    error
	secret Secret
}

func (e *maskedError) Error() string {
	return strings.ReplaceAll(e.err.Error(), e.secret.Reveal(), masked)
}

func (e *maskedError) Unwrap() error { return e.err }
