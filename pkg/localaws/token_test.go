package localaws_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider/types"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// getJSON reads a document of the stand-in.
func (a *account) getJSON(path string, v any) *http.Response {
	a.t.Helper()
	resp, err := http.Get(a.URL() + path)
	if err != nil {
		a.t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(v); err != nil {
		a.t.Fatalf("GET %s: %v", path, err)
	}
	return resp
}

// verify checks a token against the pool's key set and returns its claims.
func (a *account) verify(pool *string, token string) map[string]any {
	a.t.Helper()
	var keys jose.JSONWebKeySet
	a.getJSON("/"+*pool+"/.well-known/jwks.json", &keys)
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		a.t.Fatalf("parsing the token: %v", err)
	}
	claims := map[string]any{}
	if err := parsed.Claims(&keys, &claims); err != nil {
		a.t.Fatalf("verifying the token: %v", err)
	}
	return claims
}

// keyID is the id of the key that a token is signed with.
func keyID(t *testing.T, token string) string {
	t.Helper()
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		t.Fatal(err)
	}
	return parsed.Headers[0].KeyID
}

func secretHash(username string, c *types.UserPoolClientType) string {
	mac := hmac.New(sha256.New, []byte(aws.ToString(c.ClientSecret)))
	mac.Write([]byte(username + aws.ToString(c.ClientId)))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

type tokenReply struct {
	status int
	header http.Header
	body   string
	Token  string  `json:"access_token"`
	Type   string  `json:"token_type"`
	Life   float64 `json:"expires_in"`
	Error  string  `json:"error"`
}

// token posts a form to the token endpoint of prefix, with HTTP Basic unless
// id is empty; both are form-encoded as OAuth has it.
func (a *account) token(prefix, id, secret, form string, change ...func(*http.Request)) tokenReply {
	a.t.Helper()
	r, err := http.NewRequest("POST", a.URL()+"/"+prefix+"/oauth2/token", strings.NewReader(form))
	if err != nil {
		a.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if id != "" {
		r.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret))
	}
	for _, f := range change {
		f(r)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		a.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	reply := tokenReply{status: resp.StatusCode, header: resp.Header, body: string(b)}
	json.Unmarshal(b, &reply)
	return reply
}

const grant = "grant_type=client_credentials"

// From nothing to a verified token, by what discovery says.
func TestToken_endToEnd(t *testing.T) {
	a := newAccount(t)
	pool := a.pool("p")
	path := "/" + *pool + "/.well-known/openid-configuration"
	doc := map[string]any{}
	resp := a.getJSON(path, &doc)
	if got := resp.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("got Content-Type %q, want application/json", got)
	}
	for _, k := range []string{"token_endpoint", "authorization_endpoint", "userinfo_endpoint", "revocation_endpoint", "end_session_endpoint"} {
		if v, ok := doc[k]; ok {
			t.Errorf("without a domain: got %s %v, want none", k, v)
		}
	}
	a.domain(pool, "agents-1")
	a.resourceServer(pool, "m2m", "invoke", "admin")
	c := try(t, a.cognito.CreateUserPoolClient, machineClient(pool, "m2m/invoke", "m2m/admin")).UserPoolClient

	doc = map[string]any{}
	a.getJSON(path, &doc)
	issuer := a.URL() + "/" + *pool
	for k, want := range map[string]string{
		"issuer":                                issuer,
		"jwks_uri":                              issuer + "/.well-known/jwks.json",
		"token_endpoint":                        a.URL() + "/agents-1/oauth2/token",
		"subject_types_supported":               "[public]",
		"id_token_signing_alg_values_supported": "[RS256]",
		"token_endpoint_auth_methods_supported": "[client_secret_basic client_secret_post]",
	} {
		if got := fmt.Sprint(doc[k]); got != want {
			t.Errorf("%s: got %s, want %s", k, got, want)
		}
	}
	if len(doc) != 12 {
		t.Errorf("got %d members of the document, want 12: %v", len(doc), doc)
	}

	before := time.Now().Unix()
	reply := a.token("agents-1", *c.ClientId, *c.ClientSecret, grant)
	if reply.status != 200 || reply.Type != "Bearer" || reply.Life != 3600 || reply.header.Get("Cache-Control") != "no-store" {
		t.Fatalf("got status %d, type %q, expires_in %v, Cache-Control %q, want 200, Bearer, 3600, no-store", reply.status, reply.Type, reply.Life, reply.header.Get("Cache-Control"))
	}
	claims := a.verify(pool, reply.Token)
	want := []string{"auth_time", "client_id", "exp", "iat", "iss", "jti", "scope", "sub", "token_use", "version"}
	if got := slices.Sorted(maps.Keys(claims)); !slices.Equal(got, want) {
		t.Errorf("got claims %v, want %v", got, want)
	}
	for k, want := range map[string]any{"sub": *c.ClientId, "client_id": *c.ClientId, "iss": issuer, "token_use": "access", "scope": "m2m/invoke m2m/admin", "version": 2.0} {
		if claims[k] != want {
			t.Errorf("claim %s: got %v, want %v", k, claims[k], want)
		}
	}
	iat, exp := int64(claims["iat"].(float64)), int64(claims["exp"].(float64))
	if iat < before || iat > time.Now().Unix() || exp-iat != 3600 || claims["auth_time"] != claims["iat"] {
		t.Errorf("got iat %d, exp %d, auth_time %v, want now, an hour later, now", iat, exp, claims["auth_time"])
	}
}

func TestToken_refusals(t *testing.T) {
	a := newAccount(t)
	pool, other := a.pool("p"), a.pool("q")
	a.domain(pool, "agents-1")
	a.domain(other, "agents-2")
	a.resourceServer(pool, "m2m", "invoke", "admin")
	c := try(t, a.cognito.CreateUserPoolClient, machineClient(pool, "m2m/invoke")).UserPoolClient
	user := try(t, a.cognito.CreateUserPoolClient, &cognitoidentityprovider.CreateUserPoolClientInput{UserPoolId: pool, ClientName: aws.String("u"), GenerateSecret: true}).UserPoolClient
	id, secret := *c.ClientId, *c.ClientSecret
	post := "&client_id=" + id + "&client_secret=" + secret
	json := func(r *http.Request) { r.Header.Set("Content-Type", "application/json") }
	header := func(v string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", v) }
	}
	for _, tt := range []struct {
		what, prefix, id, secret, form string
		change                         func(*http.Request)
		wantStatus                     int
		want                           string
	}{
		{"basic", "agents-1", id, secret, grant, nil, 200, ""},
		{"post", "agents-1", "", "", grant + post, nil, 200, ""},
		{"basic and the id", "agents-1", id, secret, grant + "&client_id=" + id, nil, 200, ""},
		{"one scope", "agents-1", id, secret, grant + "&scope=m2m/invoke", nil, 200, ""},
		{"empty scope", "agents-1", id, secret, grant + "&scope=", nil, 200, ""},
		{"resource ignored", "agents-1", id, secret, grant + "&resource=https://mcp.example", nil, 200, ""},
		{"metadata ignored", "agents-1", id, secret, grant + "&aws_client_metadata=%7B%7D", nil, 200, ""},

		{"JSON", "agents-1", id, secret, `{"grant_type":"client_credentials"}`, json, 405, "invalid_request"},
		{"no content type", "agents-1", id, secret, grant, func(r *http.Request) { r.Header.Del("Content-Type") }, 405, "invalid_request"},
		{"GET", "agents-1", id, secret, grant, func(r *http.Request) { r.Method = "GET" }, 405, "invalid_request"},
		{"no grant type", "agents-1", id, secret, "scope=m2m/invoke", nil, 400, "invalid_request"},
		{"other grant type", "agents-1", id, secret, "grant_type=password", nil, 400, "unsupported_grant_type"},
		{"grant type not allowed", "agents-1", id, secret, "grant_type=authorization_code", nil, 400, "unauthorized_client"},
		{"both ways", "agents-1", id, secret, grant + post, nil, 400, "invalid_request"},
		{"another id", "agents-1", id, secret, grant + "&client_id=x", nil, 400, "invalid_request"},
		{"parameter twice", "agents-1", id, secret, grant + "&scope=m2m/invoke&scope=m2m/invoke", nil, 400, "invalid_request"},
		{"broken form", "agents-1", id, secret, grant + "&a=%zz", nil, 400, "invalid_request"},
		{"no client", "agents-1", "", "", grant, nil, 400, "invalid_request"},
		{"no secret", "agents-1", "", "", grant + "&client_id=" + id, nil, 400, "invalid_client"},
		{"wrong secret", "agents-1", id, secret + "x", grant, nil, 400, "invalid_client"},
		{"unknown client", "agents-1", "nobody", secret, grant, nil, 400, "invalid_client"},
		{"client of another pool", "agents-2", id, secret, grant, nil, 400, "invalid_client"},
		{"not Basic", "agents-1", "", "", grant, header("Bearer x"), 400, "invalid_client"},
		{"not base64", "agents-1", "", "", grant, header("Basic %%%"), 400, "invalid_client"},
		{"no colon", "agents-1", "", "", grant, header("Basic " + base64.StdEncoding.EncodeToString([]byte(id))), 400, "invalid_client"},
		{"flow not allowed", "agents-1", *user.ClientId, *user.ClientSecret, grant, nil, 400, "unauthorized_client"},
		{"scope not granted", "agents-1", id, secret, grant + "&scope=m2m/admin", nil, 400, "invalid_scope"},
		{"unknown scope", "agents-1", id, secret, grant + "&scope=m2m/invoke+m2m/none", nil, 400, "invalid_scope"},
		{"unknown domain", "nobodys", id, secret, grant, nil, 400, "invalid_request"},
	} {
		changes := []func(*http.Request){}
		if tt.change != nil {
			changes = append(changes, tt.change)
		}
		got := a.token(tt.prefix, tt.id, tt.secret, tt.form, changes...)
		if got.status != tt.wantStatus || got.Error != tt.want || (got.Token == "") != (tt.wantStatus != 200) {
			t.Errorf("%s: got %d %s, want %d %q", tt.what, got.status, got.body, tt.wantStatus, tt.want)
		}
		if cc := got.header.Get("Cache-Control"); cc != "no-store" {
			t.Errorf("%s: got Cache-Control %q, want no-store", tt.what, cc)
		}
		if got.Error != "" && strings.Contains(got.body, secret) {
			t.Errorf("%s: the refusal shows the secret", tt.what)
		}
	}
}

// Case 41: a secret with reserved characters is form-encoded before Basic.
func TestToken_encodedSecret(t *testing.T) {
	a := newAccount(t)
	pool := a.pool("p")
	a.domain(pool, "agents-1")
	a.resourceServer(pool, "m2m", "invoke")
	in := machineClient(pool, "m2m/invoke")
	in.GenerateSecret, in.ClientSecret = false, aws.String("plus+plus++and_underscore_")
	c := try(t, a.cognito.CreateUserPoolClient, in).UserPoolClient
	if got := a.token("agents-1", *c.ClientId, *in.ClientSecret, grant); got.status != 200 {
		t.Errorf("encoded: got %d %s, want 200", got.status, got.body)
	}
	raw := func(r *http.Request) { r.SetBasicAuth(*c.ClientId, *in.ClientSecret) }
	if got := a.token("agents-1", "", "", grant, raw); got.Error != "invalid_client" {
		t.Errorf("a plus that is not encoded is a space: got %d %s, want invalid_client", got.status, got.body)
	}
	form := grant + "&" + url.Values{"client_id": {*c.ClientId}, "client_secret": {*in.ClientSecret}}.Encode()
	if got := a.token("agents-1", "", "", form); got.status != 200 {
		t.Errorf("in the form: got %d %s, want 200", got.status, got.body)
	}
}

// Cases 21 and 36: both secrets work while two are live, and only then.
func TestToken_rotation(t *testing.T) {
	a := newAccount(t)
	pool := a.pool("p")
	a.domain(pool, "agents-1")
	a.resourceServer(pool, "m2m", "invoke")
	c := try(t, a.cognito.CreateUserPoolClient, machineClient(pool, "m2m/invoke")).UserPoolClient
	added := try(t, a.cognito.AddUserPoolClientSecret, &cognitoidentityprovider.AddUserPoolClientSecretInput{UserPoolId: pool, ClientId: c.ClientId}).ClientSecretDescriptor
	both := []string{*c.ClientSecret, *added.ClientSecretValue}
	for i, secret := range both {
		if got := a.token("agents-1", *c.ClientId, secret, grant); got.status != 200 {
			t.Errorf("secret %d of two: got %d %s, want 200", i, got.status, got.body)
		}
	}
	secrets := try(t, a.cognito.ListUserPoolClientSecrets, &cognitoidentityprovider.ListUserPoolClientSecretsInput{UserPoolId: pool, ClientId: c.ClientId}).ClientSecrets
	try(t, a.cognito.DeleteUserPoolClientSecret, &cognitoidentityprovider.DeleteUserPoolClientSecretInput{UserPoolId: pool, ClientId: c.ClientId, ClientSecretId: secrets[0].ClientSecretId})
	for i, want := range []string{"invalid_client", ""} {
		if got := a.token("agents-1", *c.ClientId, both[i], grant); got.Error != want {
			t.Errorf("secret %d after the first was removed: got %q, want %q", i, got.Error, want)
		}
	}
}

// A scope that its resource server loses stays on the client without effect.
func TestToken_inertScope(t *testing.T) {
	a := newAccount(t)
	pool := a.pool("p")
	a.domain(pool, "agents-1")
	a.resourceServer(pool, "m2m", "invoke", "admin")
	c := try(t, a.cognito.CreateUserPoolClient, machineClient(pool, "m2m/invoke", "m2m/admin")).UserPoolClient
	try(t, a.cognito.UpdateResourceServer, &cognitoidentityprovider.UpdateResourceServerInput{UserPoolId: pool, Identifier: aws.String("m2m"), Name: aws.String("m2m"),
		Scopes: []types.ResourceServerScopeType{{ScopeName: aws.String("invoke"), ScopeDescription: aws.String("d")}}})
	reply := a.token("agents-1", *c.ClientId, *c.ClientSecret, grant)
	if got := a.verify(pool, reply.Token)["scope"]; got != "m2m/invoke" {
		t.Errorf("got scope %v, want m2m/invoke", got)
	}
	if got := a.token("agents-1", *c.ClientId, *c.ClientSecret, grant+"&scope=m2m/admin").Error; got != "invalid_scope" {
		t.Errorf("asking for it: got %q, want invalid_scope", got)
	}
	try(t, a.cognito.DeleteResourceServer, &cognitoidentityprovider.DeleteResourceServerInput{UserPoolId: pool, Identifier: aws.String("m2m")})
	if got := a.token("agents-1", *c.ClientId, *c.ClientSecret, grant).Error; got != "invalid_scope" {
		t.Errorf("no scope left: got %q, want invalid_scope", got)
	}
}

// Case 144: tokens follow the stand-in's clock and the client's validity.
func TestToken_lifetime(t *testing.T) {
	a := newAccount(t)
	a.shift.Store(int64(48 * time.Hour))
	pool := a.pool("p")
	a.domain(pool, "agents-1")
	a.resourceServer(pool, "m2m", "invoke")
	for _, tt := range []struct {
		value *int32
		unit  types.TimeUnitsType
		want  float64
	}{
		{nil, "", 3600},
		{aws.Int32(2), "", 7200},
		{aws.Int32(5), "minutes", 300},
		{aws.Int32(301), "seconds", 301},
		{aws.Int32(1), "days", 86400},
	} {
		in := machineClient(pool, "m2m/invoke")
		in.AccessTokenValidity, in.TokenValidityUnits = tt.value, &types.TokenValidityUnitsType{AccessToken: tt.unit}
		c := try(t, a.cognito.CreateUserPoolClient, in).UserPoolClient
		reply := a.token("agents-1", *c.ClientId, *c.ClientSecret, grant)
		claims := a.verify(pool, reply.Token)
		if got := claims["exp"].(float64) - claims["iat"].(float64); got != tt.want || reply.Life != tt.want {
			t.Errorf("%v %s: got a life of %v and expires_in %v, want %v", aws.ToInt32(tt.value), tt.unit, got, reply.Life, tt.want)
		}
		if ahead := int64(claims["iat"].(float64)) - time.Now().Unix(); ahead < 47*3600 {
			t.Errorf("got iat %d s ahead, want 48 hours", ahead)
		}
	}
}

func TestRotateKeys(t *testing.T) {
	a := newAccount(t)
	pool := a.pool("p")
	a.domain(pool, "agents-1")
	a.resourceServer(pool, "m2m", "invoke")
	c := try(t, a.cognito.CreateUserPoolClient, machineClient(pool, "m2m/invoke")).UserPoolClient
	first := a.token("agents-1", *c.ClientId, *c.ClientSecret, grant).Token
	a.RotateKeys(*pool)
	second := a.token("agents-1", *c.ClientId, *c.ClientSecret, grant).Token
	if keyID(t, first) == keyID(t, second) {
		t.Errorf("got the same key id %s before and after", keyID(t, first))
	}
	var keys jose.JSONWebKeySet
	a.getJSON("/"+*pool+"/.well-known/jwks.json", &keys)
	if len(keys.Keys) != 3 || keys.Keys[0].KeyID == keyID(t, first) {
		t.Errorf("got %d keys, the first of them that of the token; want that of id tokens first and two of access tokens", len(keys.Keys))
	}
	a.verify(pool, first)
	a.verify(pool, second)
}

func TestDiscovery_refusals(t *testing.T) {
	a := newAccount(t)
	for _, path := range []string{"/eu-central-1_NotThere1/.well-known/jwks.json", "/eu-central-1_NotThere1/.well-known/openid-configuration"} {
		doc := map[string]any{}
		resp := a.getJSON(path, &doc)
		if resp.StatusCode != 404 || resp.Header.Get("Content-Type") != "application/json" || doc["issuer"] != nil {
			t.Errorf("%s: got %d %s %v, want 404 application/json", path, resp.StatusCode, resp.Header.Get("Content-Type"), doc)
		}
	}
	resp, err := http.Post(a.URL()+"/"+*a.pool("p")+"/.well-known/jwks.json", "text/plain", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 405 {
		t.Errorf("POST: got %d, want 405", resp.StatusCode)
	}
}
