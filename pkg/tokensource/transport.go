package tokensource

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// Client returns an HTTP client for the resource, for any MCP client library:
// it adds the bearer, follows no redirect, and has no time limit of its own, so
// callers bound each request by its context.
func (s *Source) Client() *http.Client { return &http.Client{Transport: s} }

// CloseIdleConnections closes those to the resource, as http.Client's method of
// this name expects of a transport.
func (s *Source) CloseIdleConnections() {
	if t, ok := s.cfg.Base.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}

// RoundTrip sends req to the resource with a bearer. A request to any other
// origin is refused unsent. When the resource answers 401 the token is dropped
// and the request replayed once with a new one, if its body can be had again
// (http.Request.GetBody). After a 403 that asks for a scope which
// Config.StepUpScopes allows, it is replayed once with a token that has it. A
// further refusal is returned as a [*ChallengeError]. A redirect is an error.
func (s *Source) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := sameOrigin(req, s.origin); err != nil {
		return nil, err
	}
	var r retries
	for out := req; ; {
		t, err := s.bearer(req.Context(), r.needs)
		if err != nil {
			closeBody(out)
			if err == errNotGranted {
				err = r.steppedUp
			}
			return nil, err
		}
		resp, c, err := forward(s.cfg.Base, req, withBearer(out, t), t.AccessToken.Reveal())
		refusal, isRefusal := err.(*ChallengeError)
		if !isRefusal {
			if err == nil && r.replays > 0 {
				s.noteHelped()
			}
			return resp, err
		}
		if !s.mend(&r, t, c, refusal) {
			return nil, refusal
		}
		var ok bool
		if out, ok = replay(req); !ok {
			return nil, refusal
		}
	}
}

// bearer returns the token for a request. It is empty where the resource has to
// say first who issues tokens.
func (s *Source) bearer(ctx context.Context, needs []string) (Token, error) {
	if s.cfg.Discover {
		s.mu.Lock()
		asked := s.asks.challenged
		s.mu.Unlock()
		if !asked {
			return Token{}, nil
		}
	}
	return s.tokenFor(ctx, needs)
}

// withBearer returns a copy of req with t's bearer: a RoundTripper must not
// change the request.
func withBearer(req *http.Request, t Token) *http.Request {
	req = req.WithContext(req.Context())
	if req.Header = req.Header.Clone(); req.Header == nil {
		req.Header = http.Header{}
	}
	req.Header.Del("Authorization")
	if !t.bearer.IsZero() {
		req.Header.Set("Authorization", t.bearer.Reveal())
	}
	return req
}

func hasBody(req *http.Request) bool { return req.Body != nil && req.Body != http.NoBody }

// replay copies req with its body from the start, if that can be had again.
func replay(req *http.Request) (*http.Request, bool) {
	again := req.WithContext(req.Context())
	if !hasBody(req) {
		return again, true
	}
	if req.GetBody == nil {
		return nil, false
	}
	body, err := req.GetBody()
	again.Body = body
	return again, err == nil
}

// forward sends out, which is req with a secret in its header. The response's
// Request is req, and no error shows the secret, even if the server repeats it.
// A 401 or 403 is a [*ChallengeError]. A redirect is refused here, because the
// error of http.Client would show the whole of its Location.
func forward(base http.RoundTripper, req, out *http.Request, secret string) (*http.Response, challenge, error) {
	resp, err := base.RoundTrip(out)
	if err != nil {
		return nil, challenge{}, err
	}
	resp.Request = req
	switch location := resp.Header.Get("Location"); resp.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		c, refusal := refused(resp, secret)
		return nil, c, refusal
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		if location != "" {
			resp.Body.Close()
			to := "no URL"
			if u, err := req.URL.Parse(location); err == nil {
				to = mask(originURL(u), secret)
			}
			return nil, challenge{}, fmt.Errorf("refusing a redirect (%d) to %s: the credentials are for %s; if the server has moved, record its new address", resp.StatusCode, to, originOf(req.URL))
		}
	}
	return resp, challenge{}, nil
}

// linger is how long the rest of a refusal is waited for.
const linger = 500 * time.Millisecond

// refused reads the challenge of a 401 or 403, makes the error for it and closes
// the answer.
func refused(resp *http.Response, secret string) (challenge, *ChallengeError) {
	// Reading a short rest lets the connection be used again.
	late := time.AfterFunc(linger, func() { resp.Body.Close() })
	io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	late.Stop()
	resp.Body.Close()
	values := resp.Header.Values("WWW-Authenticate")
	c := parseChallenge(values)
	return c, &ChallengeError{
		Status:    resp.StatusCode,
		Code:      mask(c.code, secret),
		Challenge: mask(strings.Join(values, ", "), secret),
		RequestID: mask(resp.Header.Get("X-Amzn-Requestid"), secret),
	}
}

// mask is at most 1 KiB of what a server said, without the secret.
func mask(text, secret string) string {
	if secret != "" {
		text = strings.ReplaceAll(text, secret, "[secret]")
	}
	return text[:min(len(text), 1<<10)]
}

// sameOrigin refuses a request to another origin, and closes its body.
func sameOrigin(req *http.Request, origin string) error {
	if got := originOf(req.URL); got != origin {
		closeBody(req)
		return fmt.Errorf("refusing to authorize a request to %s: the credentials are for %s", got, origin)
	}
	return nil
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		req.Body.Close()
	}
}
