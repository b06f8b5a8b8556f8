package agentcore_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"agentcore-mcp-auth/pkg/agentcore"
)

const id = "calculator-a1B2c3D4e5"

// case 69
func TestInvocationURL(t *testing.T) {
	arn := func(partition, region string) string {
		return "arn:" + partition + ":bedrock-agentcore:" + region + ":111122223333:runtime/" + id
	}
	path := func(partition, region string) string {
		return "/runtimes/arn%3A" + partition + "%3Abedrock-agentcore%3A" + region + "%3A111122223333%3Aruntime%2F" + id + "/invocations?qualifier="
	}
	for _, tt := range []struct{ name, arn, qualifier, base, want string }{
		{"commercial", arn("aws", "us-east-1"), "", "", "https://bedrock-agentcore.us-east-1.amazonaws.com" + path("aws", "us-east-1") + "DEFAULT"},
		{"China", arn("aws-cn", "cn-north-1"), "", "", "https://bedrock-agentcore.cn-north-1.amazonaws.com.cn" + path("aws-cn", "cn-north-1") + "DEFAULT"},
		{"GovCloud", arn("aws-us-gov", "us-gov-west-1"), "", "", "https://bedrock-agentcore.us-gov-west-1.amazonaws.com" + path("aws-us-gov", "us-gov-west-1") + "DEFAULT"},
		{"isolated", arn("aws-iso", "us-iso-east-1"), "", "", "https://bedrock-agentcore.us-iso-east-1.c2s.ic.gov" + path("aws-iso", "us-iso-east-1") + "DEFAULT"},
		{"isolated, secret", arn("aws-iso-b", "us-isob-east-1"), "", "", "https://bedrock-agentcore.us-isob-east-1.sc2s.sgov.gov" + path("aws-iso-b", "us-isob-east-1") + "DEFAULT"},
		{"isolated, Europe", arn("aws-iso-e", "eu-isoe-west-1"), "", "", "https://bedrock-agentcore.eu-isoe-west-1.cloud.adc-e.uk" + path("aws-iso-e", "eu-isoe-west-1") + "DEFAULT"},
		{"isolated, F", arn("aws-iso-f", "us-isof-south-1"), "", "", "https://bedrock-agentcore.us-isof-south-1.csp.hci.ic.gov" + path("aws-iso-f", "us-isof-south-1") + "DEFAULT"},
		{"sovereign", arn("aws-eusc", "eusc-de-east-1"), "", "", "https://bedrock-agentcore.eusc-de-east-1.amazonaws.eu" + path("aws-eusc", "eusc-de-east-1") + "DEFAULT"},
		{"qualifier", arn("aws", "eu-central-1"), "prod", "", "https://bedrock-agentcore.eu-central-1.amazonaws.com" + path("aws", "eu-central-1") + "prod"},
		{"reserved characters", arn("aws", "eu-central-1"), "a b&c=d/e?#%+é", "", "https://bedrock-agentcore.eu-central-1.amazonaws.com" + path("aws", "eu-central-1") + "a+b%26c%3Dd%2Fe%3F%23%25%2B%C3%A9"},
		{"override", arn("aws", "us-east-1"), "", "http://127.0.0.1:4566", "http://127.0.0.1:4566" + path("aws", "us-east-1") + "DEFAULT"},
		{"override with a path", arn("aws", "us-east-1"), "", "https://proxy.example/aws/", "https://proxy.example/aws" + path("aws", "us-east-1") + "DEFAULT"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := agentcore.InvocationURL(tt.arn, tt.qualifier, tt.base)
			if err != nil || got != tt.want {
				t.Fatalf("got  %s, %v\nwant %s", got, err, tt.want)
			}
			// Escaped once: what the service takes out is what was put in, also
			// after the HTTP client has parsed the URL and written it again.
			u, err := url.Parse(got)
			if err != nil {
				t.Fatal(err)
			}
			if u.String() != got {
				t.Errorf("the URL changes to %s when it is sent", u)
			}
			element := strings.TrimPrefix(u.EscapedPath(), u.EscapedPath()[:strings.Index(u.EscapedPath(), "/runtimes/")]+"/runtimes/")
			element = strings.TrimSuffix(element, "/invocations")
			if back, err := url.PathUnescape(element); err != nil || back != tt.arn {
				t.Errorf("the path names %s, %v; want %s", back, err, tt.arn)
			}
			want := tt.qualifier
			if want == "" {
				want = "DEFAULT"
			}
			if q := u.Query().Get("qualifier"); q != want {
				t.Errorf("the query names %q, want %q", q, want)
			}
		})
	}
}

// case 69
func TestInvocationURL_refused(t *testing.T) {
	good := "arn:aws:bedrock-agentcore:us-east-1:111122223333:runtime/" + id
	for name, arn := range map[string]string{
		"empty":              "",
		"a name":             "calculator",
		"a URL":              "https://example.com/mcp",
		"another service":    strings.Replace(good, "bedrock-agentcore", "lambda", 1),
		"no region":          strings.Replace(good, "us-east-1", "", 1),
		"a host as region":   strings.Replace(good, "us-east-1", "evil.example/", 1),
		"a short account":    strings.Replace(good, "111122223333", "1111", 1),
		"another resource":   strings.Replace(good, "runtime/", "gateway/", 1),
		"an endpoint":        good + "/runtime-endpoint/DEFAULT",
		"dots in the path":   strings.Replace(good, id, "../../"+id, 1),
		"a second line":      good + "\n",
		"a query":            good + "?x",
		"escaped already":    strings.ReplaceAll(good, ":", "%3A"),
		"another partition":  strings.Replace(good, "aws", "azure", 1),
		"a short id":         strings.TrimSuffix(good, "5"),
		"leading space":      " " + good,
		"a very long string": strings.Repeat("a", 1<<20),
	} {
		got, err := agentcore.InvocationURL(arn, "", "")
		if err == nil {
			t.Errorf("%s: got %s, want an error", name, got)
		} else if len(err.Error()) > 1000 {
			t.Errorf("%s: the error has %d characters", name, len(err.Error()))
		}
	}
	for _, base := range []string{"127.0.0.1:4566", "ftp://x", "https://", "https://x/?a=b", "https://x/#f", "http://%zz"} {
		if got, err := agentcore.InvocationURL(good, "", base); err == nil {
			t.Errorf("base %s: got %s, want an error", base, got)
		}
	}
}

func TestIsARN(t *testing.T) {
	for s, want := range map[string]bool{"arn:aws:x": true, "arn:": true, "https://example.com/arn:": false, "": false} {
		if got := agentcore.IsARN(s); got != want {
			t.Errorf("IsARN(%q) = %t, want %t", s, got, want)
		}
	}
}

func TestError(t *testing.T) {
	for _, tt := range []struct {
		status, code                           int
		temporary, refused, unauthorized, gone bool
	}{
		{status: 307, refused: true},
		{status: 400, refused: true},
		{status: 400, code: -32020, refused: true},
		{status: 401, refused: true, unauthorized: true},
		{status: 401, code: -32001, refused: true, unauthorized: true},
		{status: 403, code: -32002, refused: true, unauthorized: true},
		{status: 404, refused: true, gone: true},
		{status: 404, code: -32001, refused: true, gone: true}, // how other servers say that a session is gone
		{status: 404, code: -32601, refused: true},             // a method of the other era
		{status: 406, code: -32011, refused: true},
		{status: 408},
		{status: 409, temporary: true, refused: true},
		{status: 424, temporary: true, refused: true},
		{status: 429, temporary: true, refused: true},
		{status: 500},
		{status: 501, refused: true},
		{status: 502, temporary: true},
		{status: 503, temporary: true, refused: true},
		{status: 504, temporary: true},
		{status: 504, code: -1, temporary: true},
		{status: 200, code: -32001, refused: true, unauthorized: true},
		{status: 200, code: -32002, refused: true, unauthorized: true},
		{status: 200, code: -32003, temporary: true, refused: true},
		{status: 200, code: -32004, refused: true, gone: true},
		{status: 200, code: -32005, temporary: true, refused: true},
		{status: 200, code: -32006, refused: true},
		{status: 200, code: -32010},
		{status: 200, code: -32602, refused: true},
		{status: 200, code: -32603},
		{status: 200, code: -1},
	} {
		e := &agentcore.Error{Status: tt.status, Code: tt.code}
		if got := e.Temporary(); got != tt.temporary {
			t.Errorf("%d %d: Temporary %t", tt.status, tt.code, got)
		}
		if got := e.Refused(); got != tt.refused {
			t.Errorf("%d %d: Refused %t", tt.status, tt.code, got)
		}
		if got := e.Unauthorized(); got != tt.unauthorized {
			t.Errorf("%d %d: Unauthorized %t", tt.status, tt.code, got)
		}
		if got := e.SessionGone(); got != tt.gone {
			t.Errorf("%d %d: SessionGone %t", tt.status, tt.code, got)
		}
	}
}

func TestError_Error(t *testing.T) {
	for _, tt := range []struct {
		err  agentcore.Error
		want string
	}{
		{agentcore.Error{Status: 503}, "answered 503"},
		{agentcore.Error{Status: 200, Code: -32003, Message: "Rate exceeded", RequestID: "r-1", RetryAfter: time.Second},
			"answered 200 with JSON-RPC error -32003: Rate exceeded (request r-1)"},
	} {
		if got := tt.err.Error(); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}
