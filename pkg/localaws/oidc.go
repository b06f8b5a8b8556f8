package localaws

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"sync"
)

// signingKey is a pool's RSA key and its id.
type signingKey struct {
	id  string
	key *rsa.PrivateKey
}

// newSigningKey returns a function that makes a key on its first call and
// returns the same key from then on. Making a key takes about a tenth of a
// second.
func newSigningKey() func() *signingKey {
	return sync.OnceValue(func() *signingKey { return &signingKey{newKeyID(), newPrivateKey()} })
}

func newPrivateKey() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err) // crypto/rand does not fail on any system that Go supports
	}
	return key
}

func newKeyID() string {
	id := make([]byte, 32)
	rand.Read(id)
	return base64.StdEncoding.EncodeToString(id)
}

// idTokenKey signs the id tokens of all pools. A pool has two keys, one for each
// kind of token. This one is shared, under an id of each pool's own, so that
// pools without id tokens do not spend time on making it.
// https://docs.aws.amazon.com/cognito/latest/developerguide/amazon-cognito-user-pools-using-tokens-verifying-a-jwt.html
var idTokenKey = sync.OnceValue(newPrivateKey)

func (u *userPool) idSigner() *signingKey { return &signingKey{u.idKeyID, idTokenKey()} }

// signer returns the key that the pool signs access tokens with.
func (u *userPool) signer() func() *signingKey { return u.keys[len(u.keys)-1] }

// RotateKeys makes a pool sign access tokens with a new key. The old keys stay
// in its key set. It panics if there is no such pool.
func (s *Server) RotateKeys(poolID string) {
	p := s.cognito
	p.mu.Lock()
	defer p.mu.Unlock()
	pool := p.pools[poolID]
	if pool == nil {
		panic("localaws: no user pool " + poolID)
	}
	pool.keys = append(pool.keys[:len(pool.keys):len(pool.keys)], newSigningKey())
}

// sign makes a JWT of claims with RS256 (RFC 7515). Like Cognito's it has no
// typ in its header.
func (k *signingKey) sign(claims any) string {
	part := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			panic(err) // claims are structs of strings and numbers
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	header := struct {
		KeyID     string `json:"kid"`
		Algorithm string `json:"alg"`
	}{k.id, "RS256"}
	input := part(header) + "." + part(claims)
	digest := sha256.Sum256([]byte(input))
	sig, err := rsa.SignPKCS1v15(rand.Reader, k.key, crypto.SHA256, digest[:])
	if err != nil {
		panic(err) // a 2048-bit key signs any SHA-256 digest
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(sig)
}

// jwk is a public key in the form of RFC 7517, with Cognito's members.
type jwk struct {
	Algorithm string `json:"alg"`
	Exponent  string `json:"e"`
	ID        string `json:"kid"`
	Type      string `json:"kty"`
	Modulus   string `json:"n"`
	Use       string `json:"use"`
}

func (k *signingKey) public() jwk {
	number := func(n *big.Int) string { return base64.RawURLEncoding.EncodeToString(n.Bytes()) }
	return jwk{"RS256", number(big.NewInt(int64(k.key.E))), k.id, "RSA", number(k.key.N), "sig"}
}

// discovery is the document of OpenID Connect Discovery 1.0 with Cognito's
// members. It has the endpoints of the OAuth server only if the pool has a
// domain.
type discovery struct {
	AuthorizationEndpoint string   `json:"authorization_endpoint,omitempty"`
	EndSessionEndpoint    string   `json:"end_session_endpoint,omitempty"`
	SigningAlgorithms     []string `json:"id_token_signing_alg_values_supported"`
	Issuer                string   `json:"issuer"`
	KeySetURL             string   `json:"jwks_uri"`
	ResponseTypes         []string `json:"response_types_supported"`
	RevocationEndpoint    string   `json:"revocation_endpoint,omitempty"`
	Scopes                []string `json:"scopes_supported"`
	SubjectTypes          []string `json:"subject_types_supported"`
	TokenEndpoint         string   `json:"token_endpoint,omitempty"`
	TokenAuthMethods      []string `json:"token_endpoint_auth_methods_supported"`
	UserinfoEndpoint      string   `json:"userinfo_endpoint,omitempty"`
}

// serveDiscovery serves a pool's openid-configuration and its key set. The
// authorization, logout, revocation and userinfo endpoints that the document
// names are not implemented.
func (p *userPools) serveDiscovery(w http.ResponseWriter, r *http.Request, rec *Record) {
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", http.MethodGet)
		writePlainJSON(w, http.StatusMethodNotAllowed, map[string]string{"message": "Method Not Allowed"})
		return
	}
	id, document, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/.well-known/")
	p.mu.Lock()
	var domain string
	var keys []func() *signingKey
	pool := p.pools[id]
	if pool != nil {
		domain, keys = pool.domain, pool.keys
	}
	p.mu.Unlock()
	if pool == nil {
		writePlainJSON(w, http.StatusNotFound, map[string]string{"message": fmt.Sprintf("User pool %.80s does not exist.", id)})
		return
	}
	if document == "jwks.json" {
		set := struct {
			Keys []jwk `json:"keys"`
		}{[]jwk{pool.idSigner().public()}} // the first key never signs access tokens
		for _, key := range keys {
			set.Keys = append(set.Keys, key().public())
		}
		writePlainJSON(w, http.StatusOK, set)
		return
	}
	issuer := baseURL(r) + "/" + id
	doc := discovery{
		SigningAlgorithms: []string{"RS256"},
		Issuer:            issuer,
		KeySetURL:         issuer + "/.well-known/jwks.json",
		ResponseTypes:     []string{"code", "token"},
		Scopes:            []string{"openid", "email", "phone", "profile"},
		SubjectTypes:      []string{"public"},
		TokenAuthMethods:  []string{"client_secret_basic", "client_secret_post"},
	}
	if domain != "" {
		at := baseURL(r) + "/" + domain
		doc.AuthorizationEndpoint = at + "/oauth2/authorize"
		doc.EndSessionEndpoint = at + "/logout"
		doc.RevocationEndpoint = at + "/oauth2/revoke"
		doc.TokenEndpoint = at + "/oauth2/token"
		doc.UserinfoEndpoint = at + "/oauth2/userInfo"
	}
	writePlainJSON(w, http.StatusOK, doc)
}

// writePlainJSON answers JSON outside the AWS protocols.
func writePlainJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}
