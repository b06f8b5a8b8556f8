package authorizer_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"agentcore-mcp-auth/pkg/authorizer"
)

// case 133
func TestKeys_unknownIDsShareOneFetch(t *testing.T) {
	is := newIssuer(t)
	a := is.authorizer(t, nil)
	mustAdmit(t, a, is.token())
	flood := func(round int) {
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				for j := range 10 {
					tok := encode(header(fmt.Sprintf("new-%d-%d-%d", round, i, j))) + "." + encode(object{"iss": is.name(), "exp": 1, "iat": 1}) + ".AAAA"
					_, err := a.Check(context.Background(), tok)
					var r *authorizer.Refusal
					if !errors.As(err, &r) || r.Check != authorizer.CheckKey || r.Status != 401 {
						t.Errorf("Check error = %v, want a refusal at %q", err, authorizer.CheckKey)
					}
				}
			})
		}
		wg.Wait()
	}
	flood(0)
	if got := is.gets(); got != 2 {
		t.Errorf("%d requests for keys after 1000 unknown ids, want 2: the first and one more", got)
	}
	mustAdmit(t, a, is.token(object{"jti": "other"}))
	is.clock.Advance(29 * time.Second)
	flood(1)
	if got := is.gets(); got != 2 {
		t.Errorf("%d requests for keys within the cooldown, want 2", got)
	}
	is.clock.Advance(time.Second)
	flood(2)
	if got := is.gets(); got != 3 {
		t.Errorf("%d requests for keys after the cooldown, want 3", got)
	}
}

// case 135
func TestKeys_rotationUnderLoad(t *testing.T) {
	is := newIssuer(t)
	a := is.authorizer(t, nil)
	old, fresh := is.token(), sign(keyB(), header("b"), is.claims())
	mustAdmit(t, a, old)
	is.setKeys(jwk("a", keyA()), jwk("b", keyB())) // an instant after the first fetch
	var refused atomic.Int32
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			for range 20 {
				for _, tok := range []string{old, fresh} {
					if _, err := a.Check(context.Background(), tok); err != nil {
						refused.Add(1)
						t.Logf("refused: %v", err)
					}
				}
			}
		})
	}
	wg.Wait()
	if n := refused.Load(); n != 0 {
		t.Errorf("%d good tokens refused while the key was rotated, want none", n)
	}
	if got := is.gets(); got != 2 {
		t.Errorf("%d requests for keys, want 2", got)
	}
}

// case 135: a key that the issuer withdrew stops working once its set is an
// hour old, for tokens seen before too.
func TestKeys_withdrawal(t *testing.T) {
	is := newIssuer(t)
	a := is.authorizer(t, nil)
	tok := is.token(object{"exp": is.clock.Now().Unix() + 86400})
	mustAdmit(t, a, tok)
	is.setKeys(jwk("b", keyB()))
	is.clock.Advance(time.Hour)
	mustAdmit(t, a, tok) // served at once, while a fetch goes on behind it
	var err error
	for deadline := time.Now().Add(20 * time.Second); err == nil && time.Now().Before(deadline); {
		_, err = a.Check(t.Context(), tok)
	}
	var r *authorizer.Refusal
	if !errors.As(err, &r) || r.Check != authorizer.CheckKey {
		t.Errorf("Check with a withdrawn key = %v, want a refusal at %q", err, authorizer.CheckKey)
	}
	mustAdmit(t, a, sign(keyB(), header("b"), is.claims()))
}

// A key that comes back under an old id is another key.
func TestKeys_sameIDOtherKey(t *testing.T) {
	is := newIssuer(t)
	a := is.authorizer(t, nil)
	tok := is.token()
	mustAdmit(t, a, tok)
	is.setKeys(jwk("a", keyB()), jwk("b", keyB()))
	mustAdmit(t, a, sign(keyB(), header("b"), is.claims()))
	mustRefuse(t, a, tok, authorizer.CheckSignature)
}

// cases 43, 44 and 134
func TestKeys_badAnswers(t *testing.T) {
	var followed atomic.Int32
	trap := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { followed.Add(1) }))
	defer trap.Close()
	answer := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", trap.URL) // only a redirect's matters
			w.WriteHeader(status)
			fmt.Fprint(w, body)
		}
	}
	endless := func(w http.ResponseWriter, r *http.Request) {
		for range 100 << 20 / 4096 { // 100 MB, of which the reader takes little
			if _, err := fmt.Fprint(w, strings.Repeat(" ", 4096)); err != nil {
				return
			}
		}
	}
	cut := func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) }
	deep := strings.Repeat(`{"keys":[`, 20_000)
	doc := func(format string, args ...any) http.HandlerFunc { return answer(200, fmt.Sprintf(format, args...)) }
	is := newIssuer(t)
	tests := []struct {
		name         string
		jwks, config http.HandlerFunc
		want         string // in the reason
	}{
		{"keys: 500", answer(500, `{}`), nil, "status 500"},
		{"keys: 404", answer(404, ``), nil, "status 404"},
		{"keys: 301", answer(301, ``), nil, "status 301"},
		{"keys: 307", answer(307, ``), nil, "status 307"},
		{"keys: 308", answer(308, ``), nil, "status 308"},
		{"keys: cut", cut, nil, "EOF"},
		{"keys: HTML", answer(200, `<html>sign in</html>`), nil, "not a JSON Web Key Set"},
		{"keys: nothing", answer(200, ``), nil, "not a JSON Web Key Set"},
		{"keys: a list", answer(200, `[]`), nil, "not a JSON Web Key Set"},
		{"keys: deep", answer(200, deep), nil, "not a JSON Web Key Set"},
		{"keys: none", answer(200, `{"keys":[]}`), nil, "none of its 0"},
		{"keys: absent", answer(200, `{}`), nil, "none of its 0"},
		{"keys: twice", answer(200, `{"keys":[],"keys":[]}`), nil, "not a JSON Web Key Set"},
		{"keys: too many", answer(200, `{"keys":[`+strings.Repeat("{},", 100)+`{}]}`), nil, "101 keys"},
		{"keys: 100 MB", endless, nil, "more than"},
		{"document: 500", nil, answer(500, ``), "status 500"},
		{"document: 302", nil, answer(302, ``), "status 302"},
		{"document: HTML", nil, answer(200, `<html>`), "not JSON"},
		{"document: 100 MB", nil, endless, "more than"},
		{"document: deep", nil, answer(200, deep), "not JSON"},
		{"document: empty", nil, doc(`{}`), "issuer"},
		{"document: other issuer", nil, doc(`{"issuer":%q,"jwks_uri":%q}`, is.URL+"/other", is.URL+"/pool/jwks.json"), "issuer"},
		{"document: issuer with slash", nil, doc(`{"issuer":%q,"jwks_uri":%q}`, is.name()+"/", is.URL+"/pool/jwks.json"), "issuer"},
		{"document: no keys", nil, doc(`{"issuer":%q}`, is.name()), "jwks_uri"},
		{"document: keys over http elsewhere", nil, doc(`{"issuer":%q,"jwks_uri":"http://169.254.169.254/keys"}`, is.name()), "loopback"},
		{"document: keys in a file", nil, doc(`{"issuer":%q,"jwks_uri":"file:///etc/passwd"}`, is.name()), "https"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			// With no key yet, nothing passes, and that is not the token's fault.
			is.setBroken(tt.jwks, tt.config)
			a := is.authorizer(t, nil)
			tok := is.token()
			r := mustRefuse(t, a, tok, authorizer.CheckKeys)
			if r.Status != http.StatusServiceUnavailable || r.Err == nil || !strings.Contains(r.Reason, tt.want) {
				t.Errorf("refusal %+v, want status 503 and a reason that names %q", r, tt.want)
			}
			// The issuer mends; the fetch is tried again after a pause.
			is.setBroken(nil, nil)
			before := is.gets()
			mustRefuse(t, a, tok, authorizer.CheckKeys)
			if got := is.gets(); got != before {
				t.Errorf("%d requests for keys during the pause, want none", got-before)
			}
			is.clock.Advance(5 * time.Second)
			mustAdmit(t, a, is.token())

			// With a good set, that set is kept, however long.
			is.setBroken(tt.jwks, tt.config)
			for range 3 {
				is.clock.Advance(2 * time.Hour)
				mustAdmit(t, a, is.token())
				r = mustRefuse(t, a, sign(keyB(), header("unknown"), is.claims()), authorizer.CheckKey)
				if r.Status != http.StatusUnauthorized || !strings.Contains(r.Reason, "went wrong") {
					t.Errorf("refusal %+v, want status 401 and the fault of the last fetch", r)
				}
			}
			is.setBroken(nil, nil)
		})
	}
	if n := followed.Load(); n != 0 {
		t.Errorf("%d redirects followed, want none", n)
	}
}

// case 134: entries that are no RS256 verification key are skipped, and so is an
// id that cannot be trusted.
func TestKeys_entries(t *testing.T) {
	small := newKey(1024)
	with := func(o object, edit object) object {
		for k, v := range edit {
			o[k] = v
		}
		return o
	}
	tests := []struct {
		name  string
		entry any
		also  any // a second entry, if any
		want  bool
	}{
		{"as Cognito's", jwk("b", keyB()), nil, true},
		{"without use and alg", object{"kty": "RSA", "kid": "b", "n": jwk("b", keyB())["n"], "e": "AQAB"}, nil, true},
		{"same key twice", jwk("b", keyB()), jwk("b", keyB()), true},
		{"other key of the same id", jwk("b", keyB()), jwk("b", keyEvil()), false},
		{"other key of the same id first", jwk("b", keyEvil()), jwk("b", keyB()), false},
		{"private", with(jwk("b", keyB()), object{"d": b64(keyB().D.Bytes())}), nil, false},
		{"public beside private", jwk("b", keyB()), with(jwk("b", keyB()), object{"d": b64(keyB().D.Bytes())}), false},
		{"for encryption", with(jwk("b", keyB()), object{"use": "enc"}), nil, false},
		{"for encryption, by alg", with(jwk("b", keyB()), object{"alg": "RSA-OAEP"}), nil, false},
		{"for PS256", with(jwk("b", keyB()), object{"alg": "PS256"}), nil, false},
		{"to sign only", with(jwk("b", keyB()), object{"key_ops": []string{"sign"}}), nil, false},
		{"to verify", with(jwk("b", keyB()), object{"key_ops": []string{"verify"}}), nil, true},
		{"even exponent", with(jwk("b", keyB()), object{"e": "Ag"}), nil, false},
		{"exponent one", with(jwk("b", keyB()), object{"e": "AQ"}), nil, false},
		{"no modulus", with(jwk("b", keyB()), object{"n": ""}), nil, false},
		{"no id", with(jwk("b", keyB()), object{"kid": ""}), nil, false},
		{"id is a number", with(jwk("b", keyB()), object{"kid": 1}), nil, false},
		{"symmetric", object{"kty": "oct", "kid": "b", "k": "c2VjcmV0"}, nil, false},
		{"elliptic curve beside it", object{"kty": "EC", "kid": "c", "crv": "P-256", "x": "AA", "y": "AA"}, jwk("b", keyB()), true},
		{"unknown type beside it", object{"kty": "lattice", "kid": "b"}, jwk("b", keyB()), true},
		{"a string beside it", "key", jwk("b", keyB()), true},
		{"null beside it", nil, jwk("b", keyB()), true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			is := newIssuer(t)
			keys := []any{jwk("a", keyA()), tt.entry}
			if tt.also != nil {
				keys = append(keys, tt.also)
			}
			is.setKeys(keys...)
			a := is.authorizer(t, nil)
			tok := sign(keyB(), header("b"), is.claims())
			if tt.want {
				mustAdmit(t, a, tok)
			} else {
				mustRefuse(t, a, tok, authorizer.CheckKey)
			}
			mustAdmit(t, a, is.token()) // its neighbour is not affected
		})
	}
	t.Run("1024 bits", func(t *testing.T) {
		is := newIssuer(t)
		is.setKeys(jwk("a", keyA()), jwk("b", small()))
		mustRefuse(t, is.authorizer(t, nil), sign(small(), header("b"), is.claims()), authorizer.CheckKey)
	})
}

// case 134: a slow issuer holds up only those who need it, and each no longer
// than they care to wait.
func TestKeys_slow(t *testing.T) {
	is := newIssuer(t)
	a := is.authorizer(t, nil)
	tok := is.token()
	mustAdmit(t, a, tok)

	begun, release := make(chan struct{}), make(chan struct{})
	is.setKeys(jwk("a", keyA()), jwk("b", keyB()))
	var once sync.Once
	is.setBroken(func(w http.ResponseWriter, r *http.Request) {
		once.Do(func() { close(begun) })
		<-release
		fmt.Fprintf(w, `{"keys":[%s]}`, keyJSON("b"))
	}, nil)
	fresh := sign(keyB(), header("b"), is.claims())
	waiting := make(chan error)
	go func() {
		_, err := a.Check(context.Background(), fresh)
		waiting <- err
	}()
	<-begun
	mustAdmit(t, a, tok)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.Check(ctx, fresh); !errors.Is(err, context.Canceled) {
		t.Errorf("Check with a cancelled context = %v, want context.Canceled inside", err)
	}
	close(release)
	if err := <-waiting; err != nil {
		t.Errorf("Check of a token whose key came late: %v", err)
	}
	mustAdmit(t, a, fresh)
}

// A caller who leaves does not take the fetch with them.
func TestKeys_callerLeaves(t *testing.T) {
	is := newIssuer(t)
	a := is.authorizer(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.Check(ctx, is.token()); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("Check = %v, want context.Canceled inside or a token admitted", err)
	}
	mustAdmit(t, a, is.token())
	if got := is.gets(); got != 1 {
		t.Errorf("%d requests for keys, want 1", got)
	}
}

// A clock that is set back ends a pause, and has the keys fetched anew: neither
// lasts until the clock has caught up again. case 46
func TestKeys_clockSetBack(t *testing.T) {
	is := newIssuer(t)
	a := is.authorizer(t, nil)
	is.clock.Advance(8 * time.Hour) // it is wrong at first
	mustAdmit(t, a, is.token())
	mustRefuse(t, a, sign(keyB(), header("b"), is.claims()), authorizer.CheckKey) // starts a pause
	is.setKeys(jwk("b", keyB()))
	is.clock.Advance(-8 * time.Hour)
	mustAdmit(t, a, sign(keyB(), header("b"), is.claims()))
	mustRefuse(t, a, is.token(), authorizer.CheckKey)
}
