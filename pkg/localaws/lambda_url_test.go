package localaws_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httputil"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/events"

	"agentcore-mcp-auth/pkg/localaws"
)

// callURL posts body to a function's URL, signed for service; an empty service
// does not sign.
func callURL(t *testing.T, url, contentType string, body []byte, service string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "POST", url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	if service != "" {
		signRequest(t, req, body, service)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err != nil {
		got = append(got, "<cut off>"...)
	}
	return res, string(got)
}

func TestFunctionURL(t *testing.T) {
	s := startServer(t)
	f := startFunction(t, s, localaws.FunctionConfig{Name: "asked", Binary: buildBootstrap()})
	for _, u := range []localaws.FunctionURL{{}, {AuthType: "NONE"}, {AuthType: "AWS_IAM", InvokeMode: "SLOW"}} {
		if got, err := f.AddURL(u); err == nil {
			t.Errorf("AddURL(%+v) = %s, want an error", u, got)
		}
	}
	if res, body := callURL(t, s.URL()+"/lambda-url/asked/", "application/json", nil, "lambda"); res.StatusCode != 404 {
		t.Errorf("a function without a URL: %d %s", res.StatusCode, body)
	}
	url, err := f.AddURL(localaws.FunctionURL{AuthType: "AWS_IAM"})
	if err != nil {
		t.Fatal(err)
	}

	t.Run("who may call", func(t *testing.T) {
		res, body := callURL(t, url, "application/json", do("text"), "")
		if res.StatusCode != 403 || res.Header.Get("X-Amzn-Errortype") != "AccessDeniedException" || !strings.HasPrefix(body, `{"Message":"Forbidden.`) {
			t.Errorf("unsigned: %d %s", res.StatusCode, body)
		}
		res, body = callURL(t, url, "application/json", do("text"), "execute-api")
		if res.StatusCode != 403 || !strings.Contains(body, "correct service: 'lambda'") {
			t.Errorf("signed for another service: %d %s", res.StatusCode, body)
		}
		if res, body := callURL(t, url, "application/json", bytes.Repeat([]byte(" "), 6291457), "lambda"); res.StatusCode != 413 {
			t.Errorf("too large: %d %s", res.StatusCode, body)
		}
	})

	t.Run("event", func(t *testing.T) {
		for _, tt := range []struct {
			contentType, body, want string
			binary                  bool
		}{
			{"application/json", `{"a": 1}`, `{"a": 1}`, false},
			{"text/plain; charset=utf-8", "é", "é", false},
			{"application/octet-stream", "a", "YQ==", true},
			{"text/plain", "\xff", "/w==", true},
		} {
			_, body := callURL(t, url+"a%20b?x=1&x=2", tt.contentType, []byte(tt.body), "lambda")
			var e events.LambdaFunctionURLRequest
			if err := json.Unmarshal([]byte(body), &e); err != nil {
				t.Fatalf("%s: %v", body, err)
			}
			if e.Body != tt.want || e.IsBase64Encoded != tt.binary {
				t.Errorf("body %q base64 %t, want %q %t", e.Body, e.IsBase64Encoded, tt.want, tt.binary)
			}
			c := e.RequestContext
			if e.Version != "2.0" || e.RawPath != "/a b" || e.QueryStringParameters["x"] != "1,2" || c.HTTP.Method != "POST" ||
				!strings.HasSuffix(c.DomainName, ".lambda-url.eu-central-1.on.aws") || e.Headers["content-type"] != tt.contentType ||
				c.Authorizer.IAM.AccessKey != localaws.AccessKeyID || e.Headers["authorization"] != "" || c.HTTP.SourceIP != "127.0.0.1" {
				t.Errorf("event %s", body)
			}
		}
	})

	t.Run("a role", func(t *testing.T) {
		role, err := s.AddRole(localaws.Role{Name: "caller", Trust: lambdaTrust, Policies: []json.RawMessage{statements("Allow",
			permit{"lambda:InvokeFunctionUrl", f.ARN(), `{"StringEquals":{"lambda:FunctionUrlAuthType":"AWS_IAM"}}`},
			permit{"lambda:InvokeFunction", f.ARN(), `{"Bool":{"lambda:InvokedViaFunctionUrl":"true"}}`})}})
		if err != nil {
			t.Fatal(err)
		}
		cfg, err := s.RoleConfig(role, "me")
		if err != nil {
			t.Fatal(err)
		}
		creds, err := cfg.Credentials.Retrieve(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
		if err != nil {
			t.Fatal(err)
		}
		signRequestAs(t, creds, req, nil, "lambda")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		var e events.LambdaFunctionURLRequest
		if err := json.NewDecoder(res.Body).Decode(&e); err != nil {
			t.Fatal(err)
		}
		iam := e.RequestContext.Authorizer.IAM
		if iam.AccessKey != creds.AccessKeyID || iam.UserARN != "arn:aws:sts::"+localaws.Account+":assumed-role/caller/me" || !strings.HasSuffix(iam.UserID, ":me") || iam.CallerID != iam.UserID {
			t.Errorf("got %+v", iam)
		}
	})

	answers := []struct {
		do, mode    string
		status      int
		contentType string
		want        string
	}{
		{"text", "BUFFERED", 200, "application/json", "plain text"},
		{"calls", "BUFFERED", 200, "application/json", ""},
		{"respond", "BUFFERED", 201, "application/json", "made"},
		{"respond-badly", "BUFFERED", 502, "application/json", `{"Message":"Internal Server Error"}`},
		{"error", "BUFFERED", 502, "application/json", `{"Message":"Internal Server Error"}`},
		{"respond-in-parts", "RESPONSE_STREAM", 202, "text/event-stream", "one two"},
		{"respond-in-half", "RESPONSE_STREAM", 202, "text/event-stream", "one <cut off>"},
		{"stream", "RESPONSE_STREAM", 200, "text/event-stream", "part 0\npart 1\npart 2\n"},
		{"error", "RESPONSE_STREAM", 502, "application/json", `{"Message":"Internal Server Error"}`},
	}
	for _, tt := range answers {
		t.Run(tt.mode+"/"+tt.do, func(t *testing.T) {
			url, err := f.AddURL(localaws.FunctionURL{AuthType: "AWS_IAM", InvokeMode: tt.mode})
			if err != nil {
				t.Fatal(err)
			}
			res, body := callURL(t, url, "application/json", do(tt.do), "lambda")
			if res.StatusCode != tt.status || res.Header.Get("Content-Type") != tt.contentType || tt.want != "" && body != tt.want {
				dump, _ := httputil.DumpResponse(res, false)
				t.Errorf("got %s%s\nwant %d %s %q", dump, body, tt.status, tt.contentType, tt.want)
			}
			if tt.do == "respond" && (res.Header.Get("X-Kind") != "a" || res.Header.Get("Set-Cookie") != "c=1") {
				t.Errorf("headers %v", res.Header)
			}
		})
	}

	// A mode can be changed and a closed function has no URL.
	f.Close()
	if res, _ := callURL(t, url, "application/json", do("text"), "lambda"); res.StatusCode != 404 {
		t.Errorf("a closed function: %d", res.StatusCode)
	}
}

// A URL stays with its function, whatever becomes of the function's code.
func TestFunctionURL_updated(t *testing.T) {
	bin := buildBootstrap()
	s := startServer(t)
	f := startFunction(t, s, localaws.FunctionConfig{Name: "agent", Binary: bin})
	url, err := f.AddURL(localaws.FunctionURL{AuthType: "AWS_IAM"})
	if err != nil {
		t.Fatal(err)
	}
	status := func() int {
		t.Helper()
		resp, err := http.Post(url, "application/json", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	updated, err := s.UpdateFunction(t.Context(), localaws.FunctionConfig{Name: "agent", Binary: bin, MemoryMB: 256})
	if err != nil {
		t.Fatal(err)
	}
	if got := status(); got != http.StatusForbidden { // it is not signed
		t.Errorf("got %d", got)
	}
	updated.RemoveURL()
	if got := status(); got != http.StatusNotFound {
		t.Errorf("got %d", got)
	}
}
