package authorizer_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"agentcore-mcp-auth/pkg/authorizer"
)

func TestNew_refusesByName(t *testing.T) {
	const good = "https://idp.example/pool/.well-known/openid-configuration"
	some := []string{"x"}
	tests := []struct {
		name string
		cfg  authorizer.Config
		want string // in the error; empty: accepted
	}{
		{"clients", authorizer.Config{DiscoveryURL: good, AllowedClients: some}, ""},
		{"audience", authorizer.Config{DiscoveryURL: good, AllowedAudience: some}, ""},
		{"scopes", authorizer.Config{DiscoveryURL: good, AllowedScopes: some}, ""},
		{"claims", authorizer.Config{DiscoveryURL: good, CustomClaims: []authorizer.Claim{{Name: "team", Operator: authorizer.Equals, Values: some}}}, ""},
		{"http on loopback", authorizer.Config{DiscoveryURL: "http://127.0.0.1:9/p/.well-known/openid-configuration", AllowedClients: some}, ""},
		{"no rule", authorizer.Config{DiscoveryURL: good}, "no rule"},
		{"no URL", authorizer.Config{AllowedClients: some}, "DiscoveryURL"},
		{"other document", authorizer.Config{DiscoveryURL: "https://idp.example/.well-known/oauth-authorization-server", AllowedClients: some}, "DiscoveryURL"},
		{"suffix only", authorizer.Config{DiscoveryURL: "/.well-known/openid-configuration", AllowedClients: some}, "DiscoveryURL"},
		{"no host", authorizer.Config{DiscoveryURL: "https:///.well-known/openid-configuration", AllowedClients: some}, "no host"},
		{"no slashes", authorizer.Config{DiscoveryURL: "https:idp.example/.well-known/openid-configuration", AllowedClients: some}, "no host"},
		// case 42
		{"http", authorizer.Config{DiscoveryURL: "http://idp.example/.well-known/openid-configuration", AllowedClients: some}, "loopback"},
		{"http metadata address", authorizer.Config{DiscoveryURL: "http://169.254.169.254/.well-known/openid-configuration", AllowedClients: some}, "loopback"},
		{"http decimal loopback", authorizer.Config{DiscoveryURL: "http://2130706433/.well-known/openid-configuration", AllowedClients: some}, "loopback"},
		{"http loopback look-alike", authorizer.Config{DiscoveryURL: "http://127.0.0.1.example/.well-known/openid-configuration", AllowedClients: some}, "loopback"},
		{"file", authorizer.Config{DiscoveryURL: "file:///etc/.well-known/openid-configuration", AllowedClients: some}, "https"},
		{"user in the URL", authorizer.Config{DiscoveryURL: "https://u:p@idp.example/.well-known/openid-configuration", AllowedClients: some}, "user"},
		{"user in a URL of another document", authorizer.Config{DiscoveryURL: "https://u:p@idp.example/", AllowedClients: some}, "user"},
		{"user in a URL of another scheme", authorizer.Config{DiscoveryURL: "ftp://u:p@idp.example/.well-known/openid-configuration", AllowedClients: some}, "user"},
		{"user in what is no URL", authorizer.Config{DiscoveryURL: "https://u:p@idp.example:x/.well-known/openid-configuration", AllowedClients: some}, "not a URL"},
		{"query", authorizer.Config{DiscoveryURL: "https://idp.example/?x=/.well-known/openid-configuration", AllowedClients: some}, "query"},
		{"fragment", authorizer.Config{DiscoveryURL: "https://idp.example/#/.well-known/openid-configuration", AllowedClients: some}, "fragment"},
		{"resource", authorizer.Config{DiscoveryURL: good, AllowedClients: some, ResourceURL: "https://mcp.example/mcp"}, ""},
		{"resource on loopback", authorizer.Config{DiscoveryURL: good, AllowedClients: some, ResourceURL: "http://localhost:8000/mcp"}, ""},
		{"resource over http", authorizer.Config{DiscoveryURL: good, AllowedClients: some, ResourceURL: "http://mcp.example/mcp"}, "ResourceURL"},
		{"resource without scheme", authorizer.Config{DiscoveryURL: good, AllowedClients: some, ResourceURL: "mcp.example/mcp"}, "ResourceURL"},
		{"resource with query", authorizer.Config{DiscoveryURL: good, AllowedClients: some, ResourceURL: "https://mcp.example/mcp?x=1"}, "ResourceURL"},
		{"empty clients", authorizer.Config{DiscoveryURL: good, AllowedClients: []string{}}, "AllowedClients"},
		{"empty audience", authorizer.Config{DiscoveryURL: good, AllowedAudience: []string{}, AllowedClients: some}, "AllowedAudience"},
		{"empty scopes", authorizer.Config{DiscoveryURL: good, AllowedScopes: []string{}, AllowedClients: some}, "AllowedScopes"},
		{"empty claims", authorizer.Config{DiscoveryURL: good, CustomClaims: []authorizer.Claim{}, AllowedClients: some}, "CustomClaims"},
		{"empty client", authorizer.Config{DiscoveryURL: good, AllowedClients: []string{""}}, "AllowedClients"},
		{"two scopes in one", authorizer.Config{DiscoveryURL: good, AllowedScopes: []string{"a b"}}, "AllowedScopes"},
		{"claim without name", authorizer.Config{DiscoveryURL: good, CustomClaims: []authorizer.Claim{{Operator: authorizer.Equals, Values: some}}}, "CustomClaims[0]: Name"},
		{"unknown operator", authorizer.Config{DiscoveryURL: good, CustomClaims: []authorizer.Claim{{Name: "team", Operator: "LIKE", Values: some}}}, "Operator"},
		{"equals two", authorizer.Config{DiscoveryURL: good, CustomClaims: []authorizer.Claim{{Name: "team", Operator: authorizer.Equals, Values: []string{"a", "b"}}}}, "Values"},
		{"value AgentCore refuses", authorizer.Config{DiscoveryURL: good, CustomClaims: []authorizer.Claim{{Name: "scope", Operator: authorizer.Equals, Values: []string{"a/b"}}}}, "AllowedScopes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := authorizer.New(tt.cfg)
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("New: %v, want no error", err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("New error = %v, want one that names %q", err, tt.want)
			case err != nil && strings.Contains(err.Error(), "u:p@"):
				t.Errorf("New error %q holds the password of the URL", err)
			}
		})
	}
}

func TestCheck_admits(t *testing.T) {
	is := newIssuer(t)
	a := is.authorizer(t, nil)
	tok := is.token()
	for range 3 { // the second and third come from memory
		c := mustAdmit(t, a, tok)
		if c.Issuer != is.name() || c.ClientID != "client-1" || c.Subject != "client-1" || c.TokenID != "2f0c" ||
			!slices.Equal(c.Scopes, []string{"calculator/invoke", "calculator/list"}) || !c.Expires.Equal(is.clock.Now().Add(time.Hour)) {
			t.Errorf("claims = %+v", c)
		}
		c.Scopes[0] = "changed by the caller"
	}
	if got := is.gets(); got != 1 {
		t.Errorf("%d requests for keys, want 1", got)
	}
	// The memory of a signature does not outlive the rules.
	is.clock.Advance(59*time.Minute + time.Second)
	mustRefuse(t, a, tok, authorizer.CheckExpiry)
}

func TestCheck_rules(t *testing.T) {
	is := newIssuer(t)
	now := is.clock.Now().Unix()
	clients := func(c *authorizer.Config) {}
	audience := func(c *authorizer.Config) { c.AllowedAudience = []string{"api", "other"} }
	custom := func(op authorizer.Operator, values ...string) func(*authorizer.Config) {
		return func(c *authorizer.Config) {
			c.CustomClaims = []authorizer.Claim{{Name: "team", Operator: op, Values: values}}
		}
	}
	noScopes := func(c *authorizer.Config) { c.AllowedScopes = nil }
	tests := []struct {
		name string
		edit func(*authorizer.Config)
		with object
		want authorizer.Check // empty: admitted
	}{
		// case 130
		{"issuer with trailing slash", clients, object{"iss": is.name() + "/"}, authorizer.CheckIssuer},
		{"issuer in upper case", clients, object{"iss": strings.ToUpper(is.name())}, authorizer.CheckIssuer},
		{"issuer of another pool", clients, object{"iss": is.URL + "/pool2"}, authorizer.CheckIssuer},
		{"issuer of another region", clients, object{"iss": "https://cognito-idp.us-east-1.amazonaws.com/us-east-1_x"}, authorizer.CheckIssuer},
		{"no issuer", clients, object{"iss": nil}, authorizer.CheckIssuer},
		{"issuer as a list", clients, object{"iss": []string{is.name()}}, authorizer.CheckForm},
		// case 131
		{"id token", clients, object{"token_use": "id", "client_id": nil, "aud": "client-1", "scope": nil}, authorizer.CheckUse},
		{"no token_use", clients, object{"token_use": nil}, authorizer.CheckUse},
		{"token_use in upper case", clients, object{"token_use": "ACCESS"}, authorizer.CheckUse},
		{"client of another server", clients, object{"client_id": "client-2"}, authorizer.CheckClient},
		{"client by prefix", clients, object{"client_id": "client-11"}, authorizer.CheckClient},
		{"no client", clients, object{"client_id": nil}, authorizer.CheckClient},
		{"client in aud only", clients, object{"client_id": nil, "aud": "client-1"}, authorizer.CheckClient},
		{"client as a list", clients, object{"client_id": []string{"client-1"}}, authorizer.CheckForm},
		{"no scope", clients, object{"scope": nil}, authorizer.CheckScope},
		{"empty scope", clients, object{"scope": ""}, authorizer.CheckScope},
		{"scope that starts with ours", clients, object{"scope": "calculator/invoke-all"}, authorizer.CheckScope},
		{"scope that ours starts with", clients, object{"scope": "calculator/inv"}, authorizer.CheckScope},
		{"scope in upper case", clients, object{"scope": "CALCULATOR/INVOKE"}, authorizer.CheckScope},
		{"scopes split by a tab", clients, object{"scope": "x\tcalculator/invoke"}, authorizer.CheckScope},
		{"scope as a list", clients, object{"scope": []string{"calculator/invoke"}}, authorizer.CheckScope},
		{"any scope of several", func(c *authorizer.Config) { c.AllowedScopes = []string{"x/y", "calculator/list"} }, nil, ""},
		{"scp list", clients, object{"scope": nil, "scp": []string{"calculator/invoke"}}, ""},
		{"scp of numbers", clients, object{"scp": []any{"calculator/invoke", 1}}, authorizer.CheckScope},
		{"scopes not asked for", noScopes, object{"scope": nil}, ""},
		// Cognito machine tokens have no aud, so an audience rule refuses them all.
		{"machine token against an audience", audience, nil, authorizer.CheckAudience},
		{"audience", audience, object{"aud": "api"}, ""},
		{"audience list", audience, object{"aud": []string{"z", "other"}}, ""},
		{"other audience", audience, object{"aud": "apis"}, authorizer.CheckAudience},
		{"audience but wrong client", audience, object{"aud": "api", "client_id": "client-2"}, authorizer.CheckClient},
		{"audience of numbers", audience, object{"aud": []any{1}}, authorizer.CheckAudience},
		// custom claims
		{"equals", custom(authorizer.Equals, "red"), object{"team": "red"}, ""},
		{"equals another", custom(authorizer.Equals, "red"), object{"team": "reddish"}, authorizer.CheckClaim},
		{"equals, absent", custom(authorizer.Equals, "red"), nil, authorizer.CheckClaim},
		{"equals, list", custom(authorizer.Equals, "red"), object{"team": []string{"red"}}, authorizer.CheckClaim},
		{"equals, number", custom(authorizer.Equals, "1"), object{"team": 1}, authorizer.CheckClaim},
		{"contains", custom(authorizer.Contains, "red"), object{"team": []string{"blue", "red"}}, ""},
		{"contains, string", custom(authorizer.Contains, "red"), object{"team": "red"}, authorizer.CheckClaim},
		{"contains any", custom(authorizer.ContainsAny, "green", "red"), object{"team": []string{"blue", "red"}}, ""},
		{"contains none", custom(authorizer.ContainsAny, "green", "grey"), object{"team": []string{"blue", "red"}}, authorizer.CheckClaim},
		{"custom and scope, wrong scope", custom(authorizer.Equals, "red"), object{"team": "red", "scope": "x"}, authorizer.CheckScope},
		// case 132
		{"no exp", clients, object{"exp": nil}, authorizer.CheckExpiry},
		{"exp past", clients, object{"exp": now - 1, "iat": now - 100}, authorizer.CheckExpiry},
		{"exp now", clients, object{"exp": now}, authorizer.CheckExpiry},
		{"exp within the margin", clients, object{"exp": now + 59}, authorizer.CheckExpiry},
		{"exp at the margin", clients, object{"exp": now + 60}, ""},
		{"exp after a day", clients, object{"exp": now + 86400}, ""},
		{"exp far ahead", clients, object{"exp": now + 10*365*86400}, authorizer.CheckExpiry},
		{"life too long", clients, object{"exp": now + 80000, "iat": now - 80000}, authorizer.CheckExpiry},
		{"exp as a fraction", clients, object{"exp": float64(now) + 3600.5}, authorizer.CheckExpiry},
		{"exp as a string", clients, object{"exp": fmt.Sprint(now + 3600)}, authorizer.CheckExpiry},
		{"exp huge", clients, object{"exp": 1e300}, authorizer.CheckExpiry},
		{"exp negative", clients, object{"exp": -1}, authorizer.CheckExpiry},
		{"exp true", clients, object{"exp": true}, authorizer.CheckExpiry},
		{"exp in milliseconds", clients, object{"exp": (now + 3600) * 1000}, authorizer.CheckExpiry},
		{"no iat", clients, object{"iat": nil}, authorizer.CheckTime},
		{"iat a little ahead", clients, object{"iat": now + 60}, ""},
		{"iat ahead", clients, object{"iat": now + 61}, authorizer.CheckTime},
		{"iat as a string", clients, object{"iat": "0"}, authorizer.CheckTime},
		{"nbf past", clients, object{"nbf": now - 5}, ""},
		{"nbf a little ahead", clients, object{"nbf": now + 60}, ""},
		{"nbf ahead", clients, object{"nbf": now + 61}, authorizer.CheckTime},
		{"nbf as a string", clients, object{"nbf": "soon"}, authorizer.CheckTime},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := is.authorizer(t, tt.edit)
			tok := is.token(tt.with)
			if tt.want == "" {
				mustAdmit(t, a, tok)
				return
			}
			r := mustRefuse(t, a, tok, tt.want)
			want := http.StatusUnauthorized
			if tt.want == authorizer.CheckScope && r.Claim == "scope" && tt.name != "scope as a list" {
				want = http.StatusForbidden
			}
			if r.Status != want {
				t.Errorf("status %d, want %d", r.Status, want)
			}
		})
	}
}

// TestCheck_forgeries is the list of tricks on JSON Web Tokens. Each token would
// pass if its trick worked.
func TestCheck_forgeries(t *testing.T) {
	is := newIssuer(t)
	var followed atomic.Int32
	trap := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { followed.Add(1) }))
	defer trap.Close()

	good := is.token()
	parts := strings.Split(good, ".")
	claims := is.claims()
	with := func(edit object) object {
		h := header("a")
		for k, v := range edit {
			h[k] = v
		}
		return h
	}
	hs256 := func(secret []byte) string {
		input := encode(object{"alg": "HS256", "kid": "a"}) + "." + encode(claims)
		m := hmac.New(sha256.New, secret)
		m.Write([]byte(input))
		return input + "." + b64(m.Sum(nil))
	}
	pub, err := x509.MarshalPKIXPublicKey(keyA().Public())
	if err != nil {
		t.Fatal(err)
	}
	ps256 := func(alg string) string {
		input := encode(object{"alg": alg, "kid": "a"}) + "." + encode(claims)
		sum := sha256.Sum256([]byte(input))
		sig, err := rsa.SignPSS(rand.Reader, keyA(), crypto.SHA256, sum[:], nil)
		if err != nil {
			t.Fatal(err)
		}
		return input + "." + b64(sig)
	}
	es256 := func() string {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		input := encode(object{"alg": "ES256", "kid": "a"}) + "." + encode(claims)
		sum := sha256.Sum256([]byte(input))
		r, s, err := ecdsa.Sign(rand.Reader, k, sum[:])
		if err != nil {
			t.Fatal(err)
		}
		return input + "." + b64(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...))
	}
	flattened := fmt.Sprintf(`{"protected":%q,"payload":%q,"signature":%q}`, parts[0], parts[1], parts[2])
	general := fmt.Sprintf(`{"payload":%q,"signatures":[{"protected":%q,"signature":%q}]}`, parts[1], parts[0], parts[2])
	none := func(alg any) string { return encode(object{"alg": alg, "kid": "a"}) + "." + parts[1] + "." }
	evil := func(h any) string { return sign(keyEvil(), h, claims) }
	// The last character of a 256-byte signature has four bits that say nothing;
	// a lax decoder takes sixteen spellings of one token.
	spelling := good[:len(good)-1] + string(good[len(good)-1]+1)

	tests := []struct {
		name  string
		token string
		want  authorizer.Check
	}{
		// case 127
		{"none", none("none"), authorizer.CheckForm},
		{"none, signature of something", none("none") + parts[2], authorizer.CheckAlgorithm},
		{"None", none("None") + parts[2], authorizer.CheckAlgorithm},
		{"NONE", none("NONE") + parts[2], authorizer.CheckAlgorithm},
		{"nOnE", none("nOnE") + parts[2], authorizer.CheckAlgorithm},
		{"empty alg", none("") + parts[2], authorizer.CheckAlgorithm},
		{"null alg", none(nil) + parts[2], authorizer.CheckAlgorithm},
		{"alg as a list", none([]string{"RS256"}) + parts[2], authorizer.CheckAlgorithm},
		{"no alg", sign(keyA(), object{"kid": "a"}, claims), authorizer.CheckAlgorithm},
		{"rs256", sign(keyA(), object{"alg": "rs256", "kid": "a"}, claims), authorizer.CheckAlgorithm},
		{"Alg", sign(keyA(), object{"Alg": "RS256", "kid": "a"}, claims), authorizer.CheckAlgorithm},
		{"RS512", sign(keyA(), object{"alg": "RS512", "kid": "a"}, claims), authorizer.CheckAlgorithm},
		{"HS256 with the public key", hs256(pub), authorizer.CheckAlgorithm},
		{"HS256 with the public key in PEM", hs256(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pub})), authorizer.CheckAlgorithm},
		{"HS256 with the modulus", hs256(keyA().N.Bytes()), authorizer.CheckAlgorithm},
		{"HS256 with a blank secret", hs256(nil), authorizer.CheckAlgorithm},
		{"PS256", ps256("PS256"), authorizer.CheckAlgorithm},
		{"PS256 said to be RS256", ps256("RS256"), authorizer.CheckSignature},
		{"ES256", es256(), authorizer.CheckAlgorithm},
		// case 128
		{"jwk", evil(with(object{"jwk": jwk("a", keyEvil())})), authorizer.CheckForm},
		{"jwk without kid", evil(object{"alg": "RS256", "jwk": jwk("a", keyEvil())}), authorizer.CheckForm},
		{"jku", evil(with(object{"jku": trap.URL + "/jwks.json"})), authorizer.CheckForm},
		{"x5u", evil(with(object{"x5u": trap.URL + "/cert.pem"})), authorizer.CheckForm},
		{"x5c", evil(with(object{"x5c": []string{"MIIB"}})), authorizer.CheckForm},
		{"jku from the issuer's own key", sign(keyA(), with(object{"jku": trap.URL}), claims), authorizer.CheckForm},
		{"iss at the recorder", sign(keyEvil(), header("a"), is.claims(object{"iss": trap.URL})), authorizer.CheckIssuer},
		{"kid as a path", evil(header("../../../../dev/null")), authorizer.CheckKey},
		{"kid as a command", evil(header("a;sleep 10|curl " + trap.URL)), authorizer.CheckKey},
		{"kid as SQL", evil(header("x' UNION SELECT 'key';--")), authorizer.CheckKey},
		{"kid as a URL", evil(header(trap.URL + "/key")), authorizer.CheckKey},
		{"kid with NUL", evil(header("a\x00")), authorizer.CheckKey},
		{"kid of 10 kB", evil(header(strings.Repeat("a", 10_000))), authorizer.CheckKey},
		{"kid empty", evil(header("")), authorizer.CheckKey},
		{"kid null", evil(with(object{"kid": nil})), authorizer.CheckKey},
		{"kid number", evil(with(object{"kid": 0})), authorizer.CheckKey},
		{"kid absent", evil(object{"alg": "RS256"}), authorizer.CheckKey},
		{"kid absent, right key", sign(keyA(), object{"alg": "RS256"}, claims), authorizer.CheckKey},
		{"right kid, other key", evil(header("a")), authorizer.CheckSignature},
		{"kid twice", b64([]byte(`{"alg":"RS256","kid":"a","kid":"a"}`)) + "." + parts[1] + "." + parts[2], authorizer.CheckForm},
		{"alg twice", b64([]byte(`{"alg":"none","alg":"RS256","kid":"a"}`)) + "." + parts[1] + "." + parts[2], authorizer.CheckForm},
		// case 129
		{"no signature", parts[0] + "." + parts[1] + ".", authorizer.CheckForm},
		{"null signature", parts[0] + "." + parts[1] + "." + b64(make([]byte, 256)), authorizer.CheckSignature},
		{"signature of one null byte", parts[0] + "." + parts[1] + ".AA", authorizer.CheckSignature},
		{"signature cut short", parts[0] + "." + parts[1] + "." + b64(make([]byte, 255)), authorizer.CheckSignature},
		{"signature of other claims", parts[0] + "." + encode(is.claims(object{"scope": "calculator/invoke admin"})) + "." + parts[2], authorizer.CheckSignature},
		{"one part", parts[0], authorizer.CheckForm},
		{"two parts", parts[0] + "." + parts[1], authorizer.CheckForm},
		{"four parts", good + "." + parts[2], authorizer.CheckForm},
		{"five parts, as encrypted", good + "." + parts[2] + "." + parts[2], authorizer.CheckForm},
		{"empty", "", authorizer.CheckForm},
		{"dots", "..", authorizer.CheckForm},
		{"flattened JSON", flattened, authorizer.CheckForm},
		{"general JSON", general, authorizer.CheckForm},
		{"padding", good + "==", authorizer.CheckForm},
		{"padding in the header", parts[0] + "=." + parts[1] + "." + parts[2], authorizer.CheckForm},
		{"blank before", " " + good, authorizer.CheckForm},
		{"blank after", good + " ", authorizer.CheckForm},
		{"line break after", good + "\n", authorizer.CheckForm},
		{"line break inside", parts[0] + "." + parts[1][:20] + "\r\n" + parts[1][20:] + "." + parts[2], authorizer.CheckForm},
		{"NUL inside", parts[0] + "\x00." + parts[1] + "." + parts[2], authorizer.CheckForm},
		{"not base64", "!!!." + parts[1] + "." + parts[2], authorizer.CheckForm},
		{"standard base64", parts[0] + "." + parts[1] + "." + strings.Repeat("+/", 171), authorizer.CheckForm},
		{"other spelling of the signature", spelling, authorizer.CheckForm},
		{"b64 false", sign(keyA(), with(object{"b64": false, "crit": []string{"b64"}}), claims), authorizer.CheckForm},
		{"crit unknown", sign(keyA(), with(object{"crit": []string{"exp"}}), claims), authorizer.CheckForm},
		{"crit empty", sign(keyA(), with(object{"crit": []string{}}), claims), authorizer.CheckForm},
		{"header is a list", b64([]byte(`["RS256"]`)) + "." + parts[1] + "." + parts[2], authorizer.CheckForm},
		{"header is null", b64([]byte(`null`)) + "." + parts[1] + "." + parts[2], authorizer.CheckForm},
		{"payload is null", sign(keyA(), header("a"), nil), authorizer.CheckForm},
		{"payload is a string", sign(keyA(), header("a"), "claims"), authorizer.CheckForm},
		{"too long", sign(keyA(), header("a"), is.claims(object{"pad": strings.Repeat("x", 64<<10)})), authorizer.CheckForm},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.token == good {
				t.Fatal("the token is not forged")
			}
			mustRefuse(t, is.authorizer(t, nil), tt.token, tt.want)
		})
	}
	if n := followed.Load(); n != 0 {
		t.Errorf("%d requests to an address that a token named, want none", n)
	}
	mustAdmit(t, is.authorizer(t, nil), good)
}

func BenchmarkCheck(b *testing.B) {
	is := newIssuer(b)
	b.Run("same token", func(b *testing.B) {
		a, tok := is.authorizer(b, nil), is.token()
		for b.Loop() {
			mustAdmit(b, a, tok)
		}
	})
	b.Run("forged signature", func(b *testing.B) {
		a, tok := is.authorizer(b, nil), sign(keyEvil(), header("a"), is.claims())
		mustAdmit(b, a, is.token())
		for b.Loop() {
			if _, err := a.Check(b.Context(), tok); err == nil {
				b.Fatal("admitted")
			}
		}
	})
}
