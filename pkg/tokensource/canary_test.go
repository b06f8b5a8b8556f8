package tokensource_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"agentcore-mcp-auth/pkg/credstore"
	"agentcore-mcp-auth/pkg/tokensource"
)

// Neither secret nor token shows in any error, log line or printed value,
// whatever an issuer or a resource does with them.
func TestCanary(t *testing.T) { // case 45
	const secret, password, bearer = "canary-secret", "canary-password", "canary-bearer"
	var out bytes.Buffer
	show := func(v any) {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		if b, err := json.Marshal(v); err == nil {
			out.Write(b)
		}
		for err, ok := v.(error); ok && err != nil; err = errors.Unwrap(err) {
			fmt.Fprintf(&out, "%v %+v %#v\n", err, err, err)
		}
		slog.New(slog.NewJSONHandler(&out, nil)).Info("shown", "v", v)
		slog.New(slog.NewTextHandler(&out, nil)).Info("shown", "v", v)
	}
	grants := func(w http.ResponseWriter, _ *http.Request) bool {
		writeJSON(w, 200, map[string]any{"access_token": bearer, "token_type": "Bearer"})
		return true
	}
	// What a token endpoint that talks too much answers.
	echoes := func(status int, media string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			text := fmt.Sprintf(`{"error":%q,"error_description":%q,"token_type":%q,"expires_in":%q}`, secret, secret, bearer, bearer)
			w.Header().Set("Content-Type", media)
			w.Header().Set("Retry-After", secret)
			w.Header().Set("Location", "https://evil.com/?"+secret)
			w.WriteHeader(status)
			io.WriteString(w, text)
			return true
		}
	}
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	errs := 0
	for _, answer := range []func(http.ResponseWriter, *http.Request) bool{
		grants,
		echoes(200, "application/json"), echoes(200, "text/html"), echoes(302, "text/html"), echoes(400, "application/json"),
		echoes(401, "application/json"), echoes(404, "application/json"), echoes(429, "application/json"), echoes(503, "text/html"),
	} {
		for _, resourceStatus := range []int{200, 302, 401, 403, 500} {
			for _, cfg := range []tokensource.Config{{}, {User: true}, {Key: key}, {Discover: true}} {
				i := newIssuer()
				i.answer = answer
				c := credstore.Credentials{
					ClientID: "client", ClientSecret: credstore.NewSecret(secret), DiscoveryURL: discoveryURL,
					UserClientID: "u", Username: "u", Password: credstore.NewSecret(password),
				}
				cfg.Credentials = tokensource.Static(c)
				cfg.Logger = slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
				cfg.Base = inMemory{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token", error_description="`+r.Header.Get("Authorization")+`"`)
					w.Header().Set("Location", "https://evil.com/")
					w.WriteHeader(resourceStatus)
				})}
				s := newSource(t, i, cfg)
				token, err := s.Token(short(t))
				show(token)
				show(&token)
				if err != nil {
					errs++
					show(err)
				}
				if _, err := call(short(t), s.Client(), resourceURL, "x"); err != nil {
					errs++
					show(err)
				}
				show(s)
				show(s.Client())
				show(cfg)
				show(&c)
			}
		}
	}
	iam, err := tokensource.IAM{
		Credentials: credentials.StaticCredentialsProvider{Value: aws.Credentials{AccessKeyID: "AKID", SecretAccessKey: secret, SessionToken: bearer}},
		Resource:    resourceURL, Region: "eu-central-1",
		Base: inMemory{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("WWW-Authenticate", r.Header.Get("X-Amz-Security-Token"))
			w.WriteHeader(http.StatusForbidden)
		})},
	}.Client()
	if err != nil {
		t.Fatal(err)
	}
	show(iam)
	_, err = call(t.Context(), iam, resourceURL, "x")
	show(err)

	if errs < 100 {
		t.Errorf("only %d errors were looked at", errs)
	}
	for _, canary := range []string{secret, password, bearer} {
		for _, form := range []string{canary, fmt.Sprintf("%x", canary)} {
			if n := strings.Count(out.String(), form); n > 0 {
				at := strings.Index(out.String(), form)
				t.Errorf("%q shows %d times, as in: …%s…", form, n, out.String()[max(0, at-200):at+len(form)])
			}
		}
	}
}
