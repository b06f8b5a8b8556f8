package tokensource

import (
	"fmt"
	"io"
	"net/http"
)

// Client returns an HTTP client for the resource, for any MCP client library:
// it adds the bearer, follows no redirect, and has no time limit of its own, so
// callers bound each request by its context.
func (s *Source) Client() *http.Client {
	return &http.Client{Transport: s, CheckRedirect: refuseRedirect}
}

// RoundTrip sends req to the resource with a bearer. A request to any other
// origin is refused unsent. When the resource answers 401 the token is dropped
// and the request replayed once with a new one, if its body can be had again
// (http.Request.GetBody); what is refused then, and any 403, is returned as a
// [*ChallengeError].
func (s *Source) RoundTrip(req *http.Request) (*http.Response, error) {
	if originOf(req.URL) != s.origin {
		closeBody(req)
		return nil, fmt.Errorf("refusing to send the access token for %s to %s", s.origin, originOf(req.URL))
	}
	t, err := s.Token(req.Context())
	if err != nil {
		closeBody(req)
		return nil, err
	}
	resp, err := s.cfg.Base.RoundTrip(withBearer(req, t))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusUnauthorized {
		if !s.drop(t) {
			return nil, challenge(resp)
		}
		again, ok := replay(req)
		if !ok {
			return nil, challenge(resp)
		}
		if t, err = s.Token(req.Context()); err != nil {
			resp.Body.Close()
			return nil, err
		}
		discard(resp)
		if resp, err = s.cfg.Base.RoundTrip(withBearer(again, t)); err != nil {
			return nil, err
		}
	}
	switch resp.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		return nil, challenge(resp)
	}
	s.accepted()
	return resp, nil
}

// withBearer copies req, because a RoundTripper must not change it.
func withBearer(req *http.Request, t Token) *http.Request {
	req = req.Clone(req.Context())
	req.Header.Set("Authorization", "Bearer "+t.AccessToken.Reveal())
	return req
}

// replay returns req with its body from the start, if that can be had.
func replay(req *http.Request) (*http.Request, bool) {
	if req.Body == nil || req.Body == http.NoBody {
		return req, true
	}
	if req.GetBody == nil {
		return nil, false
	}
	body, err := req.GetBody()
	if err != nil {
		return nil, false
	}
	again := req.Clone(req.Context())
	again.Body = body
	return again, true
}

func challenge(resp *http.Response) error {
	discard(resp)
	c := resp.Header.Get("WWW-Authenticate")
	return &ChallengeError{Status: resp.StatusCode, Challenge: c[:min(len(c), 1<<10)], RequestID: resp.Header.Get("X-Amzn-Requestid")}
}

// discard reads a short rest, so that the connection can be used again.
func discard(resp *http.Response) {
	io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	resp.Body.Close()
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		req.Body.Close()
	}
}
