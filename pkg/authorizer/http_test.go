package authorizer_test

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"agentcore-mcp-auth/pkg/authorizer"
)

const metadataURL = "https://mcp.example/.well-known/oauth-protected-resource/mcp"

// cases 136 and 137: which requests pass, and the exact form of the answers to
// those that do not.
func TestHandler(t *testing.T) {
	is := newIssuer(t)
	good := is.token()
	narrow := is.token(object{"scope": "calculator/list"})
	var log bytes.Buffer
	a := is.authorizer(t, func(c *authorizer.Config) { c.Logger = slog.New(slog.NewJSONHandler(&log, nil)) })
	var reached *authorizer.Claims
	h := a.Handler(metadataURL, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, ok := authorizer.FromContext(r.Context()); ok {
			reached = &c
		}
	}))
	const (
		bare         = `Bearer resource_metadata="` + metadataURL + `"`
		invalid      = `Bearer error="invalid_token", resource_metadata="` + metadataURL + `"`
		insufficient = `Bearer error="insufficient_scope", scope="calculator/invoke", resource_metadata="` + metadataURL + `"`
	)
	tests := []struct {
		name      string
		query     string
		header    []string // values of Authorization
		status    int
		challenge string
		body      string
		logged    string // in the log
	}{
		{"good", "", []string{"Bearer " + good}, 200, "", "", ""},
		{"lower-case scheme", "", []string{"bearer " + good}, 200, "", "", ""},
		{"odd-case scheme", "", []string{"bEaReR " + good}, 200, "", "", ""},
		{"no header", "", nil, 401, bare, "unauthorized", "there is none"},
		{"empty header", "", []string{""}, 401, bare, "unauthorized", "not Bearer"},
		{"scheme alone", "", []string{"Bearer"}, 401, bare, "unauthorized", "not one token"},
		{"basic", "", []string{"Basic dTpw"}, 401, bare, "unauthorized", "not Bearer"},
		{"SigV4", "", []string{"AWS4-HMAC-SHA256 Credential=x"}, 401, bare, "unauthorized", "not Bearer"},
		{"token without scheme", "", []string{good}, 401, bare, "unauthorized", "not Bearer"},
		{"two headers", "", []string{"Bearer " + good, "Bearer " + good}, 401, bare, "unauthorized", "there are 2"},
		{"two spaces", "", []string{"Bearer  " + good}, 401, bare, "unauthorized", "not one token"},
		{"tab", "", []string{"Bearer\t" + good}, 401, bare, "unauthorized", "not Bearer"},
		{"two tokens", "", []string{"Bearer " + good + " " + good}, 401, bare, "unauthorized", "not one token"},
		{"list of tokens", "", []string{"Bearer " + good + ",Bearer " + good}, 401, bare, "unauthorized", "not one token"},
		{"quoted", "", []string{`Bearer "` + good + `"`}, 401, bare, "unauthorized", "not one token"},
		{"64 kB", "", []string{"Bearer " + strings.Repeat("a", 64<<10)}, 401, bare, "unauthorized", "bytes long"},
		{"token in the query", "?access_token=" + good, nil, 401, bare, "unauthorized", "there is none"},
		{"refused", "", []string{"Bearer a.b.c"}, 401, invalid, "invalid_token", "token form"},
		{"other client", "", []string{"Bearer " + is.token(object{"client_id": "x"})}, 401, invalid, "invalid_token", "client_id"},
		{"too little scope", "", []string{"Bearer " + narrow}, 403, insufficient, "insufficient_scope", "calculator/list"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			log.Reset()
			reached = nil
			r := httptest.NewRequest("POST", "/mcp"+tt.query, nil)
			if tt.header != nil {
				r.Header["Authorization"] = tt.header
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != tt.status {
				t.Errorf("status %d, want %d", w.Code, tt.status)
			}
			if got := w.Header().Get("WWW-Authenticate"); got != tt.challenge {
				t.Errorf("challenge %q, want %q", got, tt.challenge)
			}
			if tt.status == 200 {
				if reached == nil || reached.ClientID != "client-1" {
					t.Errorf("claims behind the handler = %+v", reached)
				}
				return
			}
			if reached != nil {
				t.Error("a refused request reached the handler behind")
			}
			if got, want := w.Body.String(), `{"error":"`+tt.body+`"}`+"\n"; got != want {
				t.Errorf("body %q, want %q", got, want)
			}
			if !strings.Contains(log.String(), tt.logged) {
				t.Errorf("log %q does not say %q", log.String(), tt.logged)
			}
			// case 138: neither a token nor its signature in a log.
			for _, tok := range []string{good, narrow} {
				if i := strings.LastIndexByte(tok, '.'); strings.Contains(log.String(), tok[i+1:]) {
					t.Errorf("log %q holds a token", log.String())
				}
			}
		})
	}
}

func TestHandler_keysUnavailable(t *testing.T) {
	is := newIssuer(t)
	is.setBroken(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, nil)
	r := httptest.NewRequest("POST", "/mcp", nil)
	r.Header.Set("Authorization", "Bearer "+is.token())
	w := httptest.NewRecorder()
	is.authorizer(t, nil).Handler("", http.NotFoundHandler()).ServeHTTP(w, r)
	if w.Code != 503 || w.Header().Get("WWW-Authenticate") != "" || w.Header().Get("Retry-After") == "" {
		t.Errorf("status %d, header %v; want 503, no challenge, Retry-After", w.Code, w.Header())
	}
	if got, want := w.Body.String(), `{"error":"temporarily_unavailable"}`+"\n"; got != want {
		t.Errorf("body %q, want %q, which does not say what is wrong", got, want)
	}
}

func TestHandler_noMetadata(t *testing.T) {
	is := newIssuer(t)
	w := httptest.NewRecorder()
	is.authorizer(t, nil).Handler("", http.NotFoundHandler()).ServeHTTP(w, httptest.NewRequest("POST", "/", nil))
	if got, want := w.Header().Get("WWW-Authenticate"), "Bearer"; w.Code != 401 || got != want {
		t.Errorf("status %d, challenge %q; want 401, %q", w.Code, got, want)
	}
}

// case 137: the metadata document is served without a token.
func TestMetadata(t *testing.T) {
	is := newIssuer(t)
	m := is.authorizer(t, nil).Metadata("https://mcp.example/mcp")
	srv := httptest.NewServer(m)
	defer srv.Close()
	resp, err := http.Get(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	want, _ := json.Marshal(map[string]any{"resource": "https://mcp.example/mcp", "authorization_servers": []string{is.name()},
		"scopes_supported": []string{"calculator/invoke"}, "bearer_methods_supported": []string{"header"}})
	var got, wanted any
	if json.Unmarshal(body, &got) != nil || json.Unmarshal(want, &wanted) != nil || !jsonEqual(got, wanted) {
		t.Errorf("document %s, want %s", body, want)
	}
	if got := resp.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("content type %q, want application/json", got)
	}
	if resp, err = http.Post(srv.URL, "", nil); err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if got := resp.Header.Get("Allow"); got != "GET, HEAD" {
		t.Errorf("Allow %q, want GET, HEAD", got)
	}
	if resp.StatusCode != 405 {
		t.Errorf("POST: status %d, want 405", resp.StatusCode)
	}
}

func jsonEqual(a, b any) bool {
	x, _ := json.Marshal(a)
	y, _ := json.Marshal(b)
	return bytes.Equal(x, y)
}

// FuzzHandler holds that no Authorization header but a good one passes, and
// that none gets any answer but the known ones.
func FuzzHandler(f *testing.F) {
	is := newIssuer(f)
	good := is.token()
	parts := strings.Split(good, ".")
	for _, seed := range []string{"", "Bearer ", "Bearer " + good, "bearer " + good + ".", "Bearer " + parts[0] + ".e30.AA",
		"Bearer " + encode(object{"alg": "none"}) + "." + parts[1] + ".", "Basic x", "Bearer {}", "Bearer a.b.c", "Bearer " + sign(keyEvil(), header("a"), is.claims())} {
		f.Add(seed)
	}
	a := is.authorizer(f, nil)
	f.Fuzz(func(t *testing.T, value string) {
		passed := false
		h := a.Handler(metadataURL, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { passed = true }))
		r := httptest.NewRequest("POST", "/mcp", nil)
		r.Header["Authorization"] = []string{value}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		isGood := len(value) > 7 && strings.EqualFold(value[:7], "Bearer ") && value[7:] == good
		if passed != isGood {
			t.Errorf("Authorization %q: passed %t, want %t", value, passed, isGood)
		}
		if !passed && w.Code != 401 {
			t.Errorf("Authorization %q: status %d, want 401", value, w.Code)
		}
	})
}
