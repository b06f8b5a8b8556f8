package tokensource

import (
	"context"
	"errors"

	"github.com/aws/smithy-go"

	"agentcore-mcp-auth/pkg/credstore"
)

// grant is one way to turn credentials into a token. It is safe for concurrent
// use: fetches do not overlap, except with one that was left behind.
type grant interface {
	needs() []string // parameters
	token(ctx context.Context, c credstore.Credentials, a ask) (Token, error)
}

// fetch reads the credentials and exchanges them. Credentials that are refused
// may have been rotated or moved: they are read once more, past any cache, and
// tried again if they changed.
func (s *Source) fetch(ctx context.Context, a ask) (Token, error) {
	from := s.cfg.Credentials
	c, err := from.Get(ctx)
	if err != nil {
		return Token{}, ReadError(from.Path(), err)
	}
	t, err := s.exchange(ctx, c, a)
	var refused *RefusedError
	var misconfigured *ConfigError
	if !errors.As(err, &refused) && !errors.As(err, &misconfigured) {
		return t, err
	}
	fresh, readErr := from.Refresh(ctx)
	if readErr != nil {
		return Token{}, ReadError(from.Path(), readErr)
	}
	if fresh == c {
		return Token{}, err
	}
	return s.exchange(ctx, fresh, a)
}

func (s *Source) exchange(ctx context.Context, c credstore.Credentials, a ask) (Token, error) {
	if err := c.Require(s.grant.needs()...); err != nil {
		return Token{}, &ConfigError{Setting: "parameters " + s.cfg.Credentials.Path(), Err: err}
	}
	return s.grant.token(ctx, c, a)
}

// ReadError sorts the errors of reading the credentials below path: a
// [*ConfigError] is for an operator to mend, an [*UnavailableError] may pass. A
// denied access does not pass; SSM says AccessDeniedException also when the key
// of a SecureString is denied.
// https://docs.aws.amazon.com/systems-manager/latest/APIReference/CommonErrors.html
func ReadError(path string, err error) error {
	var api smithy.APIError
	if errors.As(err, &api) {
		switch api.ErrorCode() {
		case "AccessDeniedException", "InvalidKeyId", "ValidationException", "UnrecognizedClientException":
			return &ConfigError{Setting: "parameters " + path, Err: err}
		}
	}
	if errors.Is(err, credstore.ErrNotFound) {
		return &ConfigError{Setting: "parameters " + path, Err: err}
	}
	return &UnavailableError{Doing: "reading credentials", Err: err}
}
