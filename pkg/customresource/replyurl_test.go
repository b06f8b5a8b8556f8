package customresource_test

import (
	"testing"

	"agentcore-mcp-auth/pkg/customresource"
)

// Only an address can be this machine's: what a name stands for is not ours to
// say.
func TestOnThisMachine(t *testing.T) {
	for endpoint, want := range map[string]bool{
		"http://127.0.0.1:4566":                      true,
		"http://127.8.9.10":                          true,
		"http://[::1]:4566":                          true,
		"":                                           false,
		"http://localhost:4566":                      false,
		"http://127.0.0.1.example.com":               false,
		"http://192.168.0.1:4566":                    false,
		"https://ssm.eu-central-1.amazonaws.com":     false,
		"http://127.0.0.1@198.51.100.1":              false,
		"127.0.0.1:4566":                             false,
		"http://0.0.0.0:4566":                        false,
		"http://[::ffff:198.51.100.1]:4566":          false,
		"http://host.docker.internal:4566":           false,
		"://":                                        false,
		"http://127.0.0.1:4566/%zz":                  false,
		"http://example.com/?a=http://127.0.0.1:456": false,
	} {
		if got := customresource.OnThisMachine(endpoint); got != want {
			t.Errorf("%q: got %t", endpoint, got)
		}
	}
}
