package tokensource

import (
	"slices"
	"strings"
	"testing"
)

func TestParseChallenge(t *testing.T) {
	const place = "https://mcp.example.com/.well-known/oauth-protected-resource"
	for _, tt := range []struct {
		values []string
		want   challenge
	}{
		{nil, challenge{}},
		{[]string{`Bearer`}, challenge{}},
		{[]string{`Bearer resource_metadata="` + place + `"`}, challenge{metadataURL: place}},
		{[]string{`bearer error="insufficient_scope", scope="a  b", resource_metadata="` + place + `"`}, challenge{"insufficient_scope", []string{"a", "b"}, place}},
		{[]string{`Bearer error=invalid_token`}, challenge{code: "invalid_token"}},
		{[]string{`Bearer error = "invalid_token" , realm = x`}, challenge{code: "invalid_token"}},
		{[]string{`Basic realm="Bearer error=\"x\"", Bearer error="y"`}, challenge{code: "y"}},
		{[]string{`Bearer error="x", Basic error="y"`}, challenge{code: "x"}},
		{[]string{`Bearer error="x", Basic realm="y", scope="of Basic"`}, challenge{code: "x"}},
		{[]string{`Digest a=b`, `Bearer error="x"`}, challenge{code: "x"}},
		{[]string{`Bearer error="a\"b\\c"`}, challenge{code: `a"b\c`}},
		{[]string{`Bearer error="x", error="y"`}, challenge{code: "x"}},
		{[]string{`Bearer error="x", scope="never ends`}, challenge{code: "x"}},
		{[]string{`Bearer ERROR="x"`}, challenge{code: "x"}},
		{[]string{`Bearererror="x"`}, challenge{}},
		{[]string{`Negotiate YII+a/b==, Bearer error="x"`}, challenge{code: "x"}},
		{[]string{`NTLM a/b=,Bearer error="x"`}, challenge{code: "x"}},
		{[]string{`,, ,Bearer ,error="x",,`}, challenge{code: "x"}},
		{[]string{`Basic dXNlcjpwYXNz==`, `;;`, "Bearer \x00"}, challenge{}},
	} {
		got := parseChallenge(tt.values)
		if got.code != tt.want.code || !slices.Equal(got.scopes, tt.want.scopes) || got.metadataURL != tt.want.metadataURL {
			t.Errorf("%q: got %+v, want %+v", tt.values, got, tt.want)
		}
	}
}

// Metadata speaks for a resource if it is that one's, or of a path above it.
func TestCovers(t *testing.T) {
	const origin = "https://mcp.example.com"
	resource, err := parseResource(origin + "/a/mcp?qualifier=DEFAULT")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{
		origin: true, origin + "/": true, origin + "/a": true, origin + "/a/mcp": true, origin + "/a/mcp?qualifier=DEFAULT": true,
		origin + "/a/mcp?qualifier=OTHER": false, origin + "/a/mc": false, origin + "/a/mcp/x": false, origin + "/b": false,
		"http://mcp.example.com": false, "https://evil.com/a/mcp": false, "": false,
	} {
		if got := covers(name, resource); got != want {
			t.Errorf("%q: got %t, want %t", name, got, want)
		}
	}
}

func FuzzChallenge(f *testing.F) {
	f.Add(`Bearer error="insufficient_scope", scope="a b"`)
	f.Add(`Basic abc==, Bearer a="\"`)
	f.Fuzz(func(t *testing.T, header string) {
		got := parseChallenge([]string{header})
		plain := strings.ReplaceAll(header, `\`, "")
		for _, s := range append(got.scopes, got.code, got.metadataURL) {
			if !strings.Contains(plain, strings.ReplaceAll(s, `\`, "")) {
				t.Errorf("%q was not in %q", s, header)
			}
		}
	})
}
