package localaws_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"agentcore-mcp-auth/pkg/localaws"

	"github.com/aws/aws-lambda-go/cfn"
)

const goodReply = `{"Status":"SUCCESS","PhysicalResourceId":"p","StackId":"s","RequestId":"r","LogicalResourceId":"l","NoEcho":true,"Data":{"A":"b"}}`

func put(t *testing.T, method, url, body string, header map[string]string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	if header["Transfer-Encoding"] == "chunked" {
		req.Header.Del("Transfer-Encoding")
		req.Body, req.ContentLength = io.NopCloser(strings.NewReader(body)), -1
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	answer, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(answer)
}

// A PUT that S3 would refuse never becomes an answer.
func TestReply_refused(t *testing.T) {
	s := startServer(t)
	reply := s.NewReply()
	base, query, _ := strings.Cut(reply.URL, "?")
	for _, tt := range []struct {
		name, method, url string
		header            map[string]string
		status            int
		code              string
	}{
		{"GET", "GET", reply.URL, nil, 403, "SignatureDoesNotMatch"},
		{"POST", "POST", reply.URL, nil, 403, "SignatureDoesNotMatch"},
		{"no signature", "PUT", base, nil, 403, "SignatureDoesNotMatch"},
		{"wrong signature", "PUT", reply.URL[:len(reply.URL)-1] + "x", nil, 403, "SignatureDoesNotMatch"},
		{"more query", "PUT", reply.URL + "&x=y", nil, 403, "SignatureDoesNotMatch"},
		{"other path", "PUT", base + "0?" + query, nil, 403, "SignatureDoesNotMatch"},
		{"content type", "PUT", reply.URL, map[string]string{"Content-Type": "application/json"}, 403, "SignatureDoesNotMatch"},
		{"no length", "PUT", reply.URL, map[string]string{"Transfer-Encoding": "chunked"}, 411, "MissingContentLength"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, body := put(t, tt.method, tt.url, goodReply, tt.header)
			if status != tt.status || !strings.Contains(body, "<Code>"+tt.code+"</Code>") {
				t.Errorf("got %d %s, want %d %s", status, body, tt.status, tt.code)
			}
		})
	}
	if got := reply.Puts(); got != 0 {
		t.Errorf("%d PUTs were stored, want 0", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := reply.Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait = %v, want canceled", err)
	}
}

func TestReply_expires(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s := localaws.New(localaws.Config{Now: func() time.Time { return now }})
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	reply := s.NewReply()
	now = now.Add(2*time.Hour + time.Second)
	if status, body := put(t, "PUT", reply.URL, goodReply, nil); status != 403 || !strings.Contains(body, "expired") {
		t.Errorf("got %d %s, want 403", status, body)
	}
}

func TestReply(t *testing.T) {
	s := startServer(t)
	replace := func(old, new string) string { return strings.Replace(goodReply, old, new, 1) }
	for _, tt := range []struct {
		name, body, rejected string // rejected: part of the reason, empty for an accepted answer
	}{
		{"good", goodReply, ""},
		{"failed", replace(`"SUCCESS"`, `"FAILED","Reason":"why"`), ""},
		{"4096 bytes", replace(`"b"`, `"`+strings.Repeat("b", 4096-len(goodReply)+1)+`"`), ""},
		{"4097 bytes", replace(`"b"`, `"`+strings.Repeat("b", 4096-len(goodReply)+2)+`"`), "too long"},
		{"failed without reason", replace(`SUCCESS`, `FAILED`), "Reason is required"},
		{"unknown status", replace(`SUCCESS`, `OK`), "want SUCCESS or FAILED"},
		{"no physical id", replace(`"PhysicalResourceId":"p",`, ``), "PhysicalResourceId"},
		{"empty physical id", replace(`"p"`, `""`), "PhysicalResourceId"},
		{"long physical id", replace(`"p"`, `"`+strings.Repeat("p", 1025)+`"`), "PhysicalResourceId"},
		{"other stack", replace(`"s"`, `"S"`), "StackId"},
		{"other request", replace(`"r"`, `"R"`), "RequestId"},
		{"other resource", replace(`"l"`, `"L"`), "LogicalResourceId"},
		{"unknown member", replace(`"NoEcho"`, `"Noecho"`), `unknown member "Noecho"`},
		{"member twice", replace(`{`, `{"Status":"FAILED",`), "twice"},
		{"wrong type", replace(`true`, `"true"`), "Invalid response object"},
		{"data not an object", replace(`{"A":"b"}`, `"b"`), "Invalid response object"},
		{"not an object", `[]`, "not a JSON object"},
		{"not JSON", `{`, "not a JSON document"},
		{"empty", ``, "not a JSON document"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			reply := s.NewReply()
			reply.Expect(cfn.Event{StackID: "s", RequestID: "r", LogicalResourceID: "l"})
			if status, body := put(t, "PUT", reply.URL, tt.body, nil); status != 200 {
				t.Fatalf("got %d %s: S3 stores what is signed", status, body)
			}
			res, err := reply.Wait(t.Context())
			var rejected *localaws.RejectedReply
			if tt.rejected == "" {
				if err != nil || res.PhysicalResourceID != "p" {
					t.Errorf("Wait = %+v, %v", res, err)
				}
			} else if !errors.As(err, &rejected) || !strings.Contains(rejected.Reason, tt.rejected) {
				t.Errorf("Wait = %v, want a rejection with %q", err, tt.rejected)
			}
		})
	}

	reply := s.NewReply()
	put(t, "PUT", reply.URL, goodReply, map[string]string{"Content-Type": ""})
	put(t, "PUT", reply.URL, `{}`, nil)
	if res, err := reply.Wait(t.Context()); err != nil || res.Status != cfn.StatusSuccess || reply.Puts() != 2 {
		t.Errorf("after two PUTs: %+v, %v, %d counted; want the first and 2", res, err, reply.Puts())
	}
}

func testSendCustomResource(t *testing.T, s *localaws.Server, bin string) {
	f := startFunction(t, s, localaws.FunctionConfig{Name: "setup", Binary: bin, Timeout: 500 * time.Millisecond})
	event := func(do string) []byte {
		return fmt.Appendf(nil, `{"RequestType":"Create","ServiceToken":"t","ResponseURL":"pre-signed-url","StackId":"arn:aws:cloudformation:eu-central-1:000000000000:stack/s/1",
			"LogicalResourceId":"Client","ResourceType":"Custom::MCPClient","ResourceProperties":{"ServiceToken":"t","ServiceTimeout":"5","Do":%q}}`, do)
	}
	for _, tt := range []struct {
		do   string
		puts int
		want string // part of the error; empty for an accepted answer
	}{
		{"answer", 1, ""},
		{"answer-twice", 2, ""},
		{"answer-typed", 0, "ended (success) without one"},
		{"silent", 0, "ended (success) without one"},
		{"error", 0, "told to fail"},
		{"exit", 0, "Runtime.ExitError"},
		{"hang", 0, "Sandbox.Timedout"},
	} {
		t.Run(tt.do, func(t *testing.T) {
			res, reply, err := s.SendCustomResource(t.Context(), f, event(tt.do))
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want %q", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "X-Amz-Signature") {
				t.Errorf("the error shows the signed URL: %v", err)
			}
			if err == nil && (res.PhysicalResourceID != "made" || res.RequestID == "") {
				t.Errorf("answer = %+v", res)
			}
			if _, err := f.PID(t.Context()); err != nil { // once the function is idle
				t.Fatal(err)
			}
			if got := reply.Puts(); got != tt.puts {
				t.Errorf("%d PUTs, want %d", got, tt.puts)
			}
		})
	}

	t.Run("caller gives up", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if _, _, err := s.SendCustomResource(ctx, f, event("hang")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want deadline exceeded", err)
		}
	})
	for _, bad := range []string{`null`, `[]`, `{`, strings.Replace(string(event("x")), `"5"`, `5`, 1), strings.Replace(string(event("x")), `"5"`, `"3601"`, 1)} {
		if _, _, err := s.SendCustomResource(t.Context(), f, []byte(bad)); err == nil {
			t.Errorf("event %s was sent", bad)
		}
	}
}
