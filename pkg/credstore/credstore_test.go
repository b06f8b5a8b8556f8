package credstore_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"agentcore-mcp-auth/pkg/credstore"
	"agentcore-mcp-auth/pkg/localaws"
)

func newStore(t *testing.T) (*credstore.Store, *localaws.Server) {
	t.Helper()
	srv := localaws.New(localaws.Config{})
	if err := srv.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { srv.Close() })
	return &credstore.Store{API: ssm.NewFromConfig(srv.AWSConfig())}, srv
}

// operations are the names of the requests so far.
func operations(srv *localaws.Server) []string {
	var ops []string
	for _, r := range srv.Records() {
		ops = append(ops, r.Operation)
	}
	return ops
}

var sample = credstore.Credentials{
	ClientID:     "client",
	ClientSecret: credstore.NewSecret("secret-canary"),
	DiscoveryURL: "https://issuer.example/.well-known/openid-configuration",
	Domain:       "https://auth.example",
	UserPoolID:   "eu-central-1_abcdefghi",
	Scope:        "calc/invoke",
	Endpoint:     "https://mcp.example/mcp",
}

// stored is c as it is read after its first writing.
func stored(c credstore.Credentials) credstore.Credentials {
	c.SecretRevision = 1
	return c
}

func TestStore_writeReadDelete(t *testing.T) {
	store, srv := newStore(t)
	if err := store.Write(t.Context(), "calc", credstore.Credentials{}, sample); err != nil {
		t.Fatal(err)
	}
	if ops := operations(srv); ops[len(ops)-1] != "PutParameter" || len(ops) != 7 {
		t.Errorf("writing a new set took %v, want 7 PutParameter", ops)
	}
	last := srv.Records()[6]
	if !strings.Contains(string(last.RequestBody), credstore.ClientID) {
		t.Errorf("the last parameter written is not the client id: %s", last.RequestBody)
	}

	got, err := store.Read(t.Context(), "calc")
	if since := time.Since(got.SecretSince); since < 0 || since > time.Minute {
		t.Errorf("the secret is from %v", got.SecretSince)
	}
	got.SecretSince = time.Time{}
	if err != nil || got != stored(sample) {
		t.Fatalf("got %+v, %v, want %+v", got, err, stored(sample))
	}
	if ops := operations(srv)[7:]; !slices.Equal(ops, []string{"GetParametersByPath"}) {
		t.Errorf("reading took %v, want one GetParametersByPath", ops)
	}

	if err := store.Delete(t.Context(), "calc"); err != nil {
		t.Fatal(err)
	}
	got, err = store.Read(t.Context(), "calc")
	if want := (credstore.Credentials{Endpoint: sample.Endpoint}); err != nil || got != want {
		t.Errorf("after Delete got %+v, %v, want the endpoint alone", got, err)
	}
	if err := store.Delete(t.Context(), "calc", credstore.Endpoint); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Read(t.Context(), "calc"); !errors.Is(err, credstore.ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
}

// case 146: the set that a guide's script has written is read as it is, and what
// a later version adds to one, more than a page of it, is passed over.
func TestStore_otherLayouts(t *testing.T) {
	store, srv := newStore(t)
	names := []string{"machine_client_id", "cognito_secret", "cognito_discovery_url", "cognito_domain", "userpool_id"}
	for i := range 10 {
		names = append(names, fmt.Sprint("another", i))
	}
	for _, name := range names {
		if _, err := ssm.NewFromConfig(srv.AWSConfig()).PutParameter(t.Context(), &ssm.PutParameterInput{
			Name: aws.String("/app/mcp/calc/" + name), Value: aws.String("the " + name), Type: types.ParameterTypeString,
		}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := store.Read(t.Context(), "calc")
	if err != nil {
		t.Fatal(err)
	}
	if err := got.Machine(); err != nil {
		t.Error(err)
	}
	got.SecretSince = time.Time{}
	if want := stored(credstore.Credentials{
		ClientID: "the machine_client_id", ClientSecret: credstore.NewSecret("the cognito_secret"), DiscoveryURL: "the cognito_discovery_url",
		Domain: "the cognito_domain", UserPoolID: "the userpool_id",
	}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// case 13: what did not change is not written.
func TestStore_writeUnchanged(t *testing.T) {
	store, srv := newStore(t)
	if err := store.Write(t.Context(), "calc", credstore.Credentials{}, sample); err != nil {
		t.Fatal(err)
	}
	before := len(srv.Records())
	changed := sample
	changed.Scope = "calc/read"
	if err := store.Write(t.Context(), "calc", sample, sample); err != nil {
		t.Fatal(err)
	}
	if err := store.Write(t.Context(), "calc", sample, changed); err != nil {
		t.Fatal(err)
	}
	if after := srv.Records()[before:]; len(after) != 1 || !strings.Contains(string(after[0].RequestBody), "calc/scope") {
		t.Errorf("got %d writes, want one of the scope", len(after))
	}
	if got, want := changed.Differences(sample), []string{credstore.Scope}; !slices.Equal(got, want) {
		t.Errorf("Differences: got %v, want %v, which is what was written", got, want)
	}
	if got := (credstore.Credentials{}).Differences(sample); got != nil {
		t.Errorf("Differences: got %v of nothing, which leaves everything as it is", got)
	}
	before = len(srv.Records())
	if err := store.Write(t.Context(), "calc", sample, credstore.Credentials{}); err != nil || len(srv.Records()) != before {
		t.Errorf("writing nothing: got %v after %d writes, want everything left as it is", err, len(srv.Records())-before)
	}
}

// What was deleted since it was read stays deleted: a parameter that is made by
// overwriting has nobody's tags.
func TestStore_writeDeleted(t *testing.T) {
	store, srv := newStore(t)
	changed := sample
	changed.Scope = "calc/read"
	if err := store.Write(t.Context(), "calc", sample, changed); !errors.Is(err, credstore.ErrNotFound) || !strings.Contains(err.Error(), "/app/mcp/calc/scope") {
		t.Errorf("got %v, want ErrNotFound of the scope", err)
	}
	if got := srv.Parameters(); len(got) != 0 {
		t.Errorf("got %d parameters, want none", len(got))
	}
}

// The key is for secrets alone, and tags are given when a parameter is created:
// Parameter Store refuses them in the request that overwrites it.
func TestStore_keyAndTags(t *testing.T) {
	store, srv := newStore(t)
	store.KMSKeyID, store.Tags = "alias/agents", map[string]string{"owner": "a", "team": "b"}
	if err := store.Write(t.Context(), "calc", credstore.Credentials{}, sample); err != nil {
		t.Fatal(err)
	}
	changed := sample
	changed.ClientSecret, changed.Scope = credstore.NewSecret("another"), "calc/read"
	if err := store.Write(t.Context(), "calc", sample, changed); err != nil {
		t.Fatal(err)
	}
	for name, p := range srv.Parameters() {
		key := ""
		if strings.HasSuffix(name, credstore.ClientSecret) {
			key = store.KMSKeyID
		}
		if p.KeyID != key || !maps.Equal(p.Tags, store.Tags) {
			t.Errorf("%s: got key %q and tags %v, want %q and %v", name, p.KeyID, p.Tags, key, store.Tags)
		}
	}
}

// case 45: what Parameter Store refuses is told by parameter and reason, without
// the value that it may quote; its type is there for errors.As.
func TestStore_refused(t *testing.T) {
	store, srv := newStore(t)
	srv.SetFault(func(r localaws.Record) *localaws.Fault {
		if r.Operation == "PutParameter" && strings.Contains(string(r.RequestBody), "calc/"+credstore.DiscoveryURL) {
			return nil
		}
		return &localaws.Fault{Status: 400, Type: "ParameterPatternMismatchException", Message: "refused: secret-canary"}
	})
	secretOnly := credstore.Credentials{ClientSecret: sample.ClientSecret}
	err := store.Write(t.Context(), "calc", credstore.Credentials{}, secretOnly)
	var refused *types.ParameterPatternMismatchException
	if !errors.As(err, &refused) || strings.Contains(err.Error(), "canary") || !strings.Contains(err.Error(), "writing parameter /app/mcp/calc/cognito_secret: ") {
		t.Errorf("got %v, want the parameter, Parameter Store's error and no secret", err)
	}
	for doing, err := range map[string]error{
		"writing parameter /app/mcp/calc/held_until: ":   store.Hold(t.Context(), "calc", time.Now()),
		"deleting parameters under /app/mcp/calc/: ":     store.Delete(t.Context(), "calc"),
		"writing parameter /app/mcp/calc/cognito_domain": store.Write(t.Context(), "calc", credstore.Credentials{}, credstore.Credentials{Domain: "https://x", DiscoveryURL: sample.DiscoveryURL, ClientID: "x"}),
	} {
		if err == nil || !strings.HasPrefix(err.Error(), doing) {
			t.Errorf("got %v, want an error of %q", err, doing)
		}
	}
	srv.SetFault(nil)
	if got, err := store.Read(t.Context(), "calc"); err != nil || got.ClientID != "" {
		t.Errorf("got client id %q, %v: it is written last, when all else has been", got.ClientID, err)
	}
}

// case 22: names that would lead out of the server's own path.
func TestStore_hostileNames(t *testing.T) {
	store, srv := newStore(t)
	for _, name := range []string{"", "a/b", "..", "a b", "a\n", "ä", "-a", strings.Repeat("a", 65)} {
		if _, err := store.Read(t.Context(), name); err == nil {
			t.Errorf("name %q was accepted", name)
		}
	}
	for _, prefix := range []string{"app", "/app/", "/aws/x", "/SSM", "/a//b", "/a b", "/", "/" + strings.Repeat("a", 800)} {
		s := *store
		s.Prefix = prefix
		for doing, err := range map[string]error{
			"Write":  s.Write(t.Context(), "calc", credstore.Credentials{}, sample),
			"Delete": s.Delete(t.Context(), "calc"),
			"Hold":   s.Hold(t.Context(), "calc", time.Now()),
		} {
			if err == nil {
				t.Errorf("%s accepted prefix %q", doing, prefix)
			}
		}
	}
	if n := len(srv.Records()); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
}

func TestCredentials_Machine(t *testing.T) {
	c := sample
	if err := c.Machine(); err != nil {
		t.Error(err)
	}
	c.ClientSecret, c.DiscoveryURL = credstore.Secret{}, ""
	var missing *credstore.MissingError
	err := c.Machine()
	if !errors.As(err, &missing) || !slices.Equal(missing.Names, []string{"cognito_discovery_url", "cognito_secret"}) {
		t.Errorf("got %v, want the two missing parameters", err)
	}
	if got, want := err.Error(), "missing parameter cognito_discovery_url, cognito_secret"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestSet_sharesReads(t *testing.T) {
	store, srv := newStore(t)
	set := store.Set("calc")
	if _, err := set.Get(t.Context()); !errors.Is(err, credstore.ErrNotFound) {
		t.Fatalf("got %v, want ErrNotFound", err)
	}
	if err := store.Write(t.Context(), "calc", credstore.Credentials{}, sample); err != nil {
		t.Fatal(err)
	}
	before := len(srv.Records())
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			c, err := set.Get(t.Context())
			if c.SecretSince = (time.Time{}); err != nil || c != stored(sample) {
				t.Errorf("got %+v, %v", c, err)
			}
		})
	}
	wg.Wait()
	reads := len(srv.Records()) - before
	if _, err := set.Get(t.Context()); err != nil || len(srv.Records())-before != reads {
		t.Errorf("a kept set was read again (%v)", err)
	}
	if reads > 2 { // one; a second if a caller came between a read's end and its keeping
		t.Errorf("20 callers made %d reads", reads)
	}
	if _, err := set.Refresh(t.Context()); err != nil || len(srv.Records())-before != reads+1 {
		t.Errorf("Refresh did not read (%v)", err)
	}
}

// case 45
func TestSecret_masked(t *testing.T) {
	secret := credstore.NewSecret("secret-canary")
	holder := struct {
		S credstore.Secret
		P *credstore.Secret
	}{secret, &secret}
	asJSON, err := json.Marshal(holder)
	if err != nil {
		t.Fatal(err)
	}
	var logged bytes.Buffer
	slog.New(slog.NewTextHandler(&logged, nil)).Info("x", "secret", secret, "holder", holder)
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("x", "secret", secret, "holder", holder)
	printed := []string{string(asJSON), fmt.Sprint(secret, &secret), fmt.Sprint(sample), fmt.Errorf("x %w %v", errors.New("y"), secret).Error(),
		secret.String(), secret.GoString(), logged.String()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%08b", "%t", "%p"} {
		printed = append(printed, fmt.Sprintf(verb, secret), fmt.Sprintf(verb, holder), fmt.Sprintf(verb, []any{secret}))
	}
	for _, p := range printed {
		for _, leak := range []string{"canary", fmt.Sprintf("%x", "canary"), fmt.Sprintf("%X", "canary")} {
			if strings.Contains(p, leak) {
				t.Errorf("printed %s", p)
			}
		}
	}
	if secret.Reveal() != "secret-canary" {
		t.Error("Reveal does not return the value")
	}
	if empty := credstore.NewSecret(""); !empty.IsZero() || empty != (credstore.Secret{}) || empty.Reveal() != "" {
		t.Error("a secret without a value is not the zero Secret")
	}
}
