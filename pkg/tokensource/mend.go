package tokensource

import (
	"errors"
	"net/http"
	"slices"
	"time"
)

// How long a rejection is remembered after its pause is over. While it is, the
// pause after another one is longer. Where the new token was accepted, it is
// remembered for a shorter time.
const (
	rejectMemory = 2 * time.Minute
	helpedMemory = 2 * time.Second
)

// retries is what one request has tried already.
type retries struct {
	asked     bool // without a token, who issues them
	replays   int
	refetched bool
	steppedUp *ChallengeError // what it was stepped up for
	needs     []string        // scopes that it was stepped up to
}

// ask is what the resource's challenges have asked for so far. It is copied, and
// its slices are never written to.
type ask struct {
	challenged  bool
	metadataURL string   // of RFC 9728; empty: the well-known places
	scopes      []string // of the first challenge, for credentials that have no scope
	extra       []string // stepped up to
	granted     []string // those of extra that a token was given for
	denied      []string // that the token endpoint refused
}

// rejects paces how fast tokens are given up.
type rejects struct {
	inARow int
	hold   window // since the last one; no other is given up within
	helped bool   // a request that was refused with the last one passed with another
}

// mend reports whether a request that was refused is worth another try, after
// making sure that it goes out with another token.
func (s *Source) mend(r *retries, t Token, c challenge, refusal *ChallengeError) bool {
	switch {
	case refusal.Status == http.StatusUnauthorized && t.AccessToken.IsZero():
		if r.asked {
			return false
		}
		r.asked = true
		s.noteChallenge(c)
		return true
	case refusal.Status == http.StatusUnauthorized:
		// A token that another request has replaced meanwhile is not yet the
		// one fetch that this request is entitled to.
		if r.refetched || r.replays == 2 {
			return false
		}
		r.replays++
		var ok bool
		r.refetched, ok = s.drop(t)
		return ok
	case c.code == "insufficient_scope" && r.steppedUp == nil:
		r.steppedUp, r.needs = refusal, without(c.scopes, t.scopes)
		return s.stepUp(r.needs)
	}
	return false
}

// noteChallenge keeps what the resource said to a request without a token.
func (s *Source) noteChallenge(c challenge) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.asks.challenged {
		s.asks.challenged, s.asks.metadataURL, s.asks.scopes = true, c.metadataURL, c.scopes
	}
}

// drop forgets t, which the resource answered with 401, unless it has been
// replaced already. It reports whether it did, and whether the request is worth
// another try. After a first rejection it always is. Where one new token after
// the other is rejected, they are dropped with growing pauses in between,
// however many requests are refused.
func (s *Source) drop(t Token) (dropped, retry bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token.AccessToken != t.AccessToken {
		return false, true
	}
	now, r := s.now(), &s.rejects
	if r.hold.holds(now) {
		return false, false
	}
	memory := rejectMemory
	if r.helped {
		memory = helpedMemory
	}
	if !(window{r.hold.from, r.hold.until.Add(memory)}).holds(now) {
		r.inARow = 0
	}
	r.hold, r.helped = window{now, now}, false
	if r.inARow > 0 {
		r.hold.until = now.Add(backoff(r.inARow-1, nil))
	}
	r.inARow++
	s.token = Token{}
	s.leave() // a renewal that began before may bring a token of the same kind
	return true, true
}

// noteHelped records that a new token was accepted in place of a rejected one.
func (s *Source) noteHelped() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rejects.helped = true
}

// stepUp asks for these scopes too from now on, if all of them may be asked for.
// The token that lacks them stays for the requests that do not need them. Each
// scope is asked for once in the life of a process.
func (s *Source) stepUp(needs []string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(needs) == 0 || s.asks.denies(needs) || len(without(needs, s.cfg.StepUpScopes)) > 0 {
		return false
	}
	if more := without(needs, s.asks.extra); len(more) > 0 {
		s.asks.extra = append(slices.Clip(s.asks.extra), more...)
		s.leave()
		s.cfg.Logger.Info("asking for more scopes", "resource", s.origin, "scopes", more)
	}
	return true
}

// rollBack goes back to the scopes from before a step-up that the token endpoint
// refused, and reports whether it did. The caller holds s.mu.
func (s *Source) rollBack(f *flight) bool {
	var refused *RefusedError
	if len(f.asks.extra) == 0 || !errors.As(f.err, &refused) || refused.Code == "invalid_client" {
		return false
	}
	lost := without(f.asks.extra, f.asks.granted)
	if len(lost) == 0 {
		lost = f.asks.granted // the client does not get them any more
	}
	s.asks.granted = without(f.asks.granted, lost)
	s.asks.extra, s.asks.denied = s.asks.granted, append(slices.Clip(s.asks.denied), lost...)
	s.cfg.Logger.Warn("the client does not get more scopes", "resource", s.origin, "scopes", lost, "error", f.err)
	return true
}

// denies reports whether the token endpoint has refused one of these scopes.
func (a ask) denies(scopes []string) bool { return len(without(scopes, a.denied)) < len(scopes) }

// without is what is in a and not in b.
func without(a, b []string) (rest []string) {
	for _, s := range a {
		if !slices.Contains(b, s) {
			rest = append(rest, s)
		}
	}
	return rest
}
