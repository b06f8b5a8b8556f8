package authorizer

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"
)

const (
	// cooldown is how long no key is fetched after a fetch that failed, or that
	// did not bring a key id somebody asked for.
	cooldown = 30 * time.Second

	// coldRetry takes the place of cooldown while no key has ever been fetched,
	// when nothing can be admitted anyway.
	coldRetry = 5 * time.Second

	// maxAge is how long keys serve before they are fetched anew, so that a key
	// which the issuer has withdrawn stops working.
	maxAge = time.Hour

	fetchTimeout = 10 * time.Second
	maxDocument  = 256 << 10 // bytes of a discovery document or a key set; Cognito's have one to two thousand
	maxKeys      = 100
)

// keySet is the keys of one issuer. Callers share one fetch; a set that was
// fetched serves until another one has been, however long the issuer is down.
type keySet struct {
	discoveryURL, issuer string
	client               *http.Client
	now                  func() time.Time
	log                  *slog.Logger

	mu      sync.Mutex                // guards what follows
	keys    map[string]*rsa.PublicKey // by key id; nil until the first good fetch; replaced whole
	fetched time.Time                 // when keys was
	ended   time.Time                 // when the last fetch did, good or not
	pause   time.Duration             // no fetch for so long after ended
	err     error                     // of the last fetch
	flight  *flight                   // the fetch under way, if any
}

// flight is a fetch under way.
type flight struct {
	wanted map[string]bool // key ids that callers wait for, up to one more than a set may have; guarded by keySet.mu
	done   chan struct{}
}

// within reports whether it is less than d since from. A clock that was set back
// to before that says no, so that nothing lasts longer than d.
func within(now, from time.Time, d time.Duration) bool {
	age := now.Sub(from)
	return 0 <= age && age < d
}

// find returns the key of an id. A known key is returned at once. Otherwise find
// waits for a fetch, if the last one allows another, but no longer than ctx. The
// error is a *Refusal.
func (s *keySet) find(ctx context.Context, keyID string) (*rsa.PublicKey, error) {
	s.mu.Lock()
	now := s.now()
	key := s.keys[keyID]
	mayFetch := s.flight == nil && !within(now, s.ended, s.pause)
	if key != nil {
		if mayFetch && !within(now, s.fetched, maxAge) {
			s.fetch()
		}
		s.mu.Unlock()
		return key, nil
	}
	if mayFetch {
		s.fetch()
	}
	if f := s.flight; f != nil {
		if len(f.wanted) <= maxKeys {
			f.wanted[keyID] = true
		}
		s.mu.Unlock()
		select {
		case <-f.done:
		case <-ctx.Done():
			return nil, unavailable(ctx.Err())
		}
		s.mu.Lock()
		key = s.keys[keyID]
	}
	defer s.mu.Unlock()
	switch {
	case key != nil:
		return key, nil
	case s.keys == nil:
		return nil, unavailable(s.err)
	case s.err != nil:
		return nil, refuse(CheckKey, "kid %.80q is not among the %d known keys of the issuer, and the last fetch went wrong: %v", keyID, len(s.keys), s.err)
	}
	return nil, refuse(CheckKey, "kid %.80q is not among the issuer's %d keys", keyID, len(s.keys))
}

func unavailable(err error) *Refusal {
	return &Refusal{Check: CheckKeys, Reason: err.Error(), Status: http.StatusServiceUnavailable, Err: err}
}

// fetch starts a flight; s.mu is held. The flight belongs to no caller, so that
// one who leaves does not fail the others.
func (s *keySet) fetch() {
	f := &flight{wanted: map[string]bool{}, done: make(chan struct{})}
	s.flight = f
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), fetchTimeout)
		defer cancel()
		keys, err := s.load(ctx)

		s.mu.Lock()
		defer s.mu.Unlock()
		defer close(f.done)
		s.flight, s.ended, s.pause, s.err = nil, s.now(), cooldown, err
		if err != nil {
			if s.keys == nil {
				s.pause = coldRetry
			}
			s.log.Warn("fetching the issuer's keys", "issuer", s.issuer, "keys_kept", len(s.keys), "error", err)
			return
		}
		s.keys, s.fetched = keys, s.ended
		for id := range keys {
			delete(f.wanted, id)
		}
		if len(f.wanted) == 0 {
			s.pause = 0
		}
	}()
}

// load fetches the discovery document and then the keys it points to.
func (s *keySet) load(ctx context.Context) (map[string]*rsa.PublicKey, error) {
	body, err := s.get(ctx, s.discoveryURL)
	if err != nil {
		return nil, fmt.Errorf("reading the discovery document: %w", err)
	}
	var doc struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		return nil, fmt.Errorf("reading the discovery document %s: it is not JSON of the form expected", s.discoveryURL)
	}
	// OpenID Connect Discovery 1.0 section 4.3
	if doc.Issuer != s.issuer {
		return nil, fmt.Errorf("discovery document %s names the issuer %.200q, want %q", s.discoveryURL, doc.Issuer, s.issuer)
	}
	u, err := checkURL(doc.JWKSURI)
	if err != nil {
		return nil, fmt.Errorf("discovery document %s: jwks_uri: %w", s.discoveryURL, err)
	}
	if own, err := checkURL(s.discoveryURL); err != nil || own.Scheme == "https" && u.Scheme != "https" {
		return nil, fmt.Errorf("discovery document %s: jwks_uri %.200q is not https", s.discoveryURL, doc.JWKSURI)
	}
	if body, err = s.get(ctx, doc.JWKSURI); err != nil {
		return nil, fmt.Errorf("reading the key set: %w", err)
	}
	keys, err := parseKeys(body)
	if err != nil {
		return nil, fmt.Errorf("reading the key set %s: %w", doc.JWKSURI, err)
	}
	return keys, nil
}

func (s *keySet) get(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("GET %s: status %d, want 200 (redirects are not followed)", url, resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxDocument+1))
	if err != nil {
		return nil, fmt.Errorf("GET %s: %w", url, err)
	}
	if len(body) > maxDocument {
		return nil, fmt.Errorf("GET %s: more than %d bytes", url, maxDocument)
	}
	return body, nil
}

// parseKeys takes the RS256 verification keys out of a JSON Web Key Set (RFC
// 7517). Entries for anything else are skipped, and so is a key id that stands
// for two keys or that was published with its private half. A set of which
// nothing is left is an error, so that it does not replace a good one.
func parseKeys(body []byte) (map[string]*rsa.PublicKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, errors.New("it is not a JSON Web Key Set")
	}
	if len(set.Keys) > maxKeys {
		return nil, fmt.Errorf("%d keys, at most %d are read", len(set.Keys), maxKeys)
	}
	keys := map[string]*rsa.PublicKey{}
	distrusted := map[string]bool{}
	for _, raw := range set.Keys {
		var k struct {
			Type       string          `json:"kty"`
			ID         string          `json:"kid"`
			Use        string          `json:"use"`
			Algorithm  string          `json:"alg"`
			Operations []string        `json:"key_ops"`
			Private    json.RawMessage `json:"d"`
		}
		if json.Unmarshal(raw, &k) != nil || k.ID == "" || k.Type != "RSA" {
			continue
		}
		if k.Private != nil {
			distrusted[k.ID] = true
			continue
		}
		if k.Use != "" && k.Use != "sig" || k.Algorithm != "" && k.Algorithm != string(jose.RS256) ||
			k.Operations != nil && !slices.Contains(k.Operations, "verify") {
			continue
		}
		var jwk jose.JSONWebKey
		if jwk.UnmarshalJSON(raw) != nil {
			continue
		}
		// RFC 7518 section 3.3: 2048 bits or more.
		key, ok := jwk.Key.(*rsa.PublicKey)
		if !ok || key.N.BitLen() < 2048 || key.E < 3 || key.E%2 == 0 {
			continue
		}
		if other := keys[k.ID]; other != nil && !other.Equal(key) {
			distrusted[k.ID] = true
		}
		keys[k.ID] = key
	}
	for id := range distrusted {
		delete(keys, id)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("none of its %d entries is a usable RS256 key of 2048 bits or more", len(set.Keys))
	}
	return keys, nil
}
