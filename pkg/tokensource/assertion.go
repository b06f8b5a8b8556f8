package tokensource

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"net/http"
	"net/url"
	"slices"
	"time"

	"agentcore-mcp-auth/pkg/credstore"
)

// assertionLife is how long a client assertion is good for: one request, and
// some difference between the clocks.
const assertionLife = time.Minute

// assertion is private_key_jwt: the client proves who it is with a JWT that it
// signed (RFC 7523, sections 2.2 and 3).
type assertion struct {
	key      crypto.Signer
	kid, alg string
	now      func() time.Time
}

func newAssertion(key crypto.Signer, kid string, now func() time.Time) (assertion, error) {
	a := assertion{key: key, kid: kid, now: now}
	switch pub := key.Public().(type) {
	case *ecdsa.PublicKey:
		if pub.Curve == elliptic.P256() {
			a.alg = "ES256"
		}
	case *rsa.PublicKey:
		if pub.N.BitLen() >= 2048 { // RFC 7518, section 3.3
			a.alg = "RS256"
		}
	}
	if a.alg == "" {
		return a, &ConfigError{Setting: "Key", Err: errors.New("want ECDSA on P-256, or RSA of at least 2048 bits")}
	}
	return a, nil
}

func (a assertion) sign(m metadata, c credstore.Credentials, form url.Values, _ http.Header) error {
	refuse := refusal("issuer " + m.Issuer)
	if !slices.Contains(m.AuthMethods, "private_key_jwt") {
		return refuse("its token endpoint does not take private_key_jwt")
	}
	if len(m.SigningAlgs) > 0 && !slices.Contains(m.SigningAlgs, a.alg) {
		return refuse("its token endpoint takes no assertion signed with %s", a.alg)
	}
	jwt, err := a.jwt(m.Issuer, c.ClientID)
	if err != nil {
		return &UnavailableError{Doing: "signing the client assertion", Err: err}
	}
	form.Set("client_id", c.ClientID)
	form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
	form.Set("client_assertion", jwt)
	return nil
}

// jwt makes the assertion. Its audience is the issuer and never the token
// endpoint, so that it is of no use anywhere else.
func (a assertion) jwt(issuer, clientID string) (string, error) {
	now := a.now().Unix()
	header := map[string]string{"alg": a.alg, "typ": "JWT"}
	if a.kid != "" {
		header["kid"] = a.kid
	}
	input := segment(header) + "." + segment(map[string]any{
		"iss": clientID, "sub": clientID, "aud": issuer, "jti": rand.Text(), "iat": now, "exp": now + int64(assertionLife.Seconds()),
	})
	digest := sha256.Sum256([]byte(input))
	sig, err := a.key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		return "", err
	}
	if a.alg == "ES256" {
		if sig, err = joseSignature(sig); err != nil {
			return "", err
		}
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(sig), nil
}

// segment is one part of a JWT. Strings and numbers always have a JSON form.
func segment(v any) string {
	b, _ := json.Marshal(v)
	return base64.RawURLEncoding.EncodeToString(b)
}

// joseSignature turns the ASN.1 form that a crypto.Signer returns for ECDSA into
// that of RFC 7518, section 3.4: r and s, 32 bytes each.
func joseSignature(der []byte) ([]byte, error) {
	var v struct{ R, S *big.Int }
	if rest, err := asn1.Unmarshal(der, &v); err != nil || len(rest) > 0 || v.R.Sign() < 0 || v.S.Sign() < 0 || v.R.BitLen() > 256 || v.S.BitLen() > 256 {
		return nil, errors.New("the key's signature is no ECDSA signature on P-256")
	}
	sig := make([]byte, 64)
	v.R.FillBytes(sig[:32])
	v.S.FillBytes(sig[32:])
	return sig, nil
}
