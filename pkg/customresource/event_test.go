package customresource_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"agentcore-mcp-auth/pkg/customresource"

	"github.com/aws/aws-lambda-go/cfn"
)

// Events that are not valid end in FAILED or, where nobody can be answered, in
// an error; the handler never sees them. case 28
func TestWrap_invalidEvent(t *testing.T) {
	s := startServer(t)
	for _, tt := range []struct {
		name   string
		change func(map[string]any)
		reason string // part of the reason; empty: no answer at all
	}{
		{"unknown request type", func(m map[string]any) { m["RequestType"] = "Read" }, `RequestType "Read"`},
		{"request type in lower case", func(m map[string]any) { m["RequestType"] = "create" }, `RequestType "create"`},
		{"no request type", func(m map[string]any) { delete(m, "RequestType") }, "RequestType"},
		{"request type a number", func(m map[string]any) { m["RequestType"] = 1 }, "RequestType has the wrong type"},
		{"no stack", func(m map[string]any) { delete(m, "StackId") }, "StackId is missing"},
		{"no request id", func(m map[string]any) { m["RequestId"] = "" }, "RequestId is missing"},
		{"no logical id", func(m map[string]any) { m["LogicalResourceId"] = nil }, "LogicalResourceId is missing"},
		{"member in lower case", func(m map[string]any) { m["stackid"] = m["StackId"]; delete(m, "StackId") }, "StackId is missing"},
		{"long stack", func(m map[string]any) { m["StackId"] = strings.Repeat("s", 513) }, "StackId is longer"},
		{"odd stack", func(m map[string]any) { m["StackId"] = "a\nb" }, "StackId is longer"},
		{"properties a list", func(m map[string]any) { m["ResourceProperties"] = []string{} }, "ResourceProperties has the wrong type"},
		{"update without id", func(m map[string]any) { m["RequestType"] = "Update" }, "PhysicalResourceId is missing"},
		{"delete without id", func(m map[string]any) { m["RequestType"] = "Delete" }, "PhysicalResourceId is missing"},
		{"long id", func(m map[string]any) {
			m["RequestType"], m["PhysicalResourceId"] = "Delete", strings.Repeat("x", 1025)
		}, "PhysicalResourceId is longer"},
		{"no reply URL", func(m map[string]any) { delete(m, "ResponseURL") }, ""},
		{"reply URL a number", func(m map[string]any) { m["ResponseURL"] = 5 }, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			logger, log := logTo()
			runs := 0
			h := customresource.Wrap(func(context.Context, cfn.Event) (string, map[string]any, error) { runs++; return "", nil, nil },
				customresource.Options{Logger: logger, AllowLoopback: true})
			e, reply := newEvent(s, cfn.RequestCreate)
			var m map[string]any
			if err := json.Unmarshal(marshal(t, e), &m); err != nil {
				t.Fatal(err)
			}
			tt.change(m)
			before := len(s.Records())
			err := h(t.Context(), marshal(t, m))
			if (err != nil) != (tt.reason == "") {
				t.Errorf("handler = %v", err)
			}
			if runs != 0 {
				t.Error("the handler was called")
			}
			records := s.Records()[before:]
			if tt.reason == "" {
				if len(records) != 0 || !strings.Contains(log.String(), "refused") {
					t.Errorf("%d requests, log %s; want none and a refusal", len(records), log)
				}
				return
			}
			var res cfn.Response
			if len(records) != 1 || json.Unmarshal(records[0].RequestBody, &res) != nil {
				t.Fatalf("%d requests, want one answer", len(records))
			}
			if res.Status != cfn.StatusFailed || res.PhysicalResourceID == "" || !strings.Contains(res.Reason, tt.reason) {
				t.Errorf("answer = %+v, want FAILED with %q", res, tt.reason)
			}
			checkLog(t, log.String(), reply.URL)
		})
	}
	h := customresource.Wrap(nil, customresource.Options{Logger: slog.New(slog.DiscardHandler)})
	for _, raw := range []string{"", "null", "[]", "5", `{"RequestType":"Create","ResponseURL":"` + s3URL} {
		if err := h(t.Context(), json.RawMessage(raw)); err == nil {
			t.Errorf("event %q was taken", raw)
		}
	}
}

// Whoever may invoke the function can forge an event, and gets nothing sent
// anywhere but to CloudFormation. case 23
func TestWrap_replyURL(t *testing.T) {
	const bucket = "cloudformation-custom-resource-response-"
	const key = "/arn%3Aaws%3Acloudformation%3Aeu-central-1%3A0%3Astack/s/1%7CClient%7Cr?X-Amz-Signature=c0ffee"
	for _, tt := range []struct {
		url      string
		region   string
		loopback bool
		ok       bool
	}{
		{url: "https://" + bucket + "eucentral1.s3.eu-central-1.amazonaws.com" + key, ok: true},
		{url: "https://" + bucket + "eucentral1.s3.eu-central-1.amazonaws.com" + key, region: "eu-central-1", ok: true},
		{url: "https://" + bucket + "euwest1.s3-eu-west-1.amazonaws.com" + key, region: "eu-west-1", ok: true},
		{url: "https://" + bucket + "useast1.s3.amazonaws.com" + key, region: "us-east-1", ok: true},
		{url: "https://" + bucket + "useast1.s3.us-east-1.amazonaws.com" + key, ok: true},
		{url: "https://" + bucket + "cnnorth1.s3.cn-north-1.amazonaws.com.cn" + key, region: "cn-north-1", ok: true},
		{url: "https://" + bucket + "usgovwest1.s3.us-gov-west-1.amazonaws.com" + key, region: "us-gov-west-1", ok: true},
		{url: "https://s3.amazonaws.com/" + bucket + "useast1" + key, ok: true},
		{url: "https://s3.eu-west-1.amazonaws.com/" + bucket + "euwest1" + key, ok: true},
		{url: "https://s3-eu-west-1.amazonaws.com/" + bucket + "euwest1" + key, region: "eu-west-1", ok: true},
		{url: "http://127.0.0.1:4566/reply?X-Amz-Signature=c0ffee", loopback: true, ok: true},
		{url: "http://[::1]:4566/reply", loopback: true, ok: true},
		{url: "http://localhost:4566/reply", loopback: true, ok: true},

		{url: "http://127.0.0.1:4566/reply"},
		{url: "http://localhost/reply"},
		{url: "http://10.0.0.1/reply", loopback: true},
		{url: "http://169.254.169.254/latest/meta-data", loopback: true},
		{url: "http://127.0.0.1.evil.example/reply", loopback: true},
		{url: "http://0.0.0.0/reply", loopback: true},
		{url: "http://user@127.0.0.1/reply", loopback: true},
		{url: "http://127.0.0.1@evil.example/reply", loopback: true},
		{url: "ftp://127.0.0.1/reply", loopback: true},
		{url: "http://" + bucket + "useast1.s3.amazonaws.com" + key},
		{url: "https://" + bucket + "useast1.s3.amazonaws.com:8443" + key},
		{url: "https://" + bucket + "useast1.s3.amazonaws.com:443" + key},
		{url: "https://" + bucket + "useast1.s3.amazonaws.com." + key},
		{url: "https://" + bucket + "useast1.s3.amazonaws.com.evil.example" + key},
		{url: "https://" + bucket + "useast1.s3.amazonaws.com.cn" + key},
		{url: "https://" + bucket + "useast1.s3.evil.amazonaws.com" + key},
		{url: "https://" + bucket + "useast1.evil.example" + key},
		{url: "https://" + bucket + "useast1.s3.us-west-2.amazonaws.com" + key},
		{url: "https://" + bucket + "cnnorth1.s3.cn-north-1.amazonaws.com" + key},
		{url: "https://" + bucket + "cnnorth1.s3.amazonaws.com" + key, region: "cn-north-1"},
		{url: "https://" + bucket + "usgovwest1.s3.amazonaws.com" + key, region: "us-gov-west-1"},
		{url: "https://" + bucket + "euwest1.s3.eu-west-1.amazonaws.com" + key, region: "eu-central-1"},
		{url: "https://" + bucket + "useast1.s3.amazonaws.com" + key, region: "eu-central-1"},
		{url: "https://" + bucket + "evil.s3.amazonaws.com" + key},
		{url: "https://" + bucket + ".s3.amazonaws.com" + key},
		{url: "https://evil.s3.amazonaws.com" + key},
		{url: "https://evil-" + bucket + "useast1.s3.amazonaws.com" + key},
		{url: "https://evil." + bucket + "useast1.s3.amazonaws.com" + key},
		{url: "https://x" + bucket + "useast1.s3.amazonaws.com" + key},
		{url: "https://s3.amazonaws.com/evil" + key},
		{url: "https://s3.amazonaws.com/" + bucket + "useast1/../evil" + key},
		{url: "https://s3.amazonaws.com/" + bucket + "useast1/%2E%2e/evil" + key},
		{url: "https://s3.amazonaws.com//" + bucket + "useast1" + key},
		{url: "https://s3.amazonaws.com/" + bucket + "useast1"},
		{url: "https://" + bucket + "useast1.s3.amazonaws.com/"},
		{url: "https://user:pass@" + bucket + "useast1.s3.amazonaws.com" + key},
		{url: "https://" + bucket + "useast1.s3.amazonaws.com@evil.example" + key},
		{url: "https://evil.example/?" + bucket + "useast1.s3.amazonaws.com" + key},
		{url: "https://evil.example#@" + bucket + "useast1.s3.amazonaws.com" + key},
		{url: "https://evil.example\\." + bucket + "useast1.s3.amazonaws.com" + key},
		{url: "https://52.216.0.1" + key},
		{url: "https://[::1]" + key},
		{url: "https:" + bucket + "useast1.s3.amazonaws.com" + key},
		{url: "//" + bucket + "useast1.s3.amazonaws.com" + key},
		{url: "https://%zz?X-Amz-Signature=c0ffee"},
		{url: ""},
	} {
		logger, log := logTo()
		runs, sent := 0, ""
		h := customresource.Wrap(func(context.Context, cfn.Event) (string, map[string]any, error) { runs++; return "id", nil, nil },
			customresource.Options{Logger: logger, Region: tt.region, AllowLoopback: tt.loopback,
				Transport: transport(func(r *http.Request) (*http.Response, error) {
					sent = r.URL.String()
					return status(200), nil
				})})
		e := cfn.Event{RequestType: cfn.RequestCreate, RequestID: "r", ResponseURL: tt.url, LogicalResourceID: "l", StackID: stack}
		err := h(t.Context(), marshal(t, e))
		if tt.ok && (err != nil || runs != 1 || sent != tt.url) {
			t.Errorf("%s (%q): %v after %d runs, sent to %s", tt.url, tt.region, err, runs, sent)
		}
		if !tt.ok && (err == nil || runs != 0 || sent != "" || !strings.Contains(log.String(), "refused")) {
			t.Errorf("%s (%q) was taken: %d runs, sent to %q, log %s", tt.url, tt.region, runs, sent, log)
		}
		if strings.Contains(log.String(), "c0ffee") || strings.Contains(log.String(), "pass@") || err != nil && strings.Contains(err.Error(), "c0ffee") {
			t.Errorf("%s: the log or the error shows a secret: %v\n%s", tt.url, err, log)
		}
	}
}

// FuzzWrap: SUCCESS only for a valid event, never a panic, at most one answer,
// and none without an error returned.
func FuzzWrap(f *testing.F) {
	for _, seed := range []string{
		`{"RequestType":"Create","RequestId":"r","StackId":"s","LogicalResourceId":"l","ResponseURL":"REPLY","ResourceProperties":{"A":"b"}}`,
		`{"RequestType":"Update","RequestId":"r","StackId":"s","LogicalResourceId":"l","ResponseURL":"REPLY","PhysicalResourceId":"p","OldResourceProperties":{}}`,
		`{"RequestType":"Delete","RequestId":"r","StackId":"s","LogicalResourceId":"l","ResponseURL":"REPLY","PhysicalResourceId":""}`,
		`{"RequestType":"Delete","RequestId":"r","ResponseURL":"REPLY"}`,
		`{"requesttype":"Create","RequestId":"r","StackId":"s","LogicalResourceId":"l","ResponseURL":"REPLY"}`,
		`{"RequestType":"Create","RequestId":5,"StackId":null,"LogicalResourceId":["l"],"ResponseURL":"REPLY"}`,
		`{"RequestType":"Create","ResponseURL":"https://example.com"}`,
		`{"RequestType":"Create","ResponseURL":"REPLY"`,
		`null`, `"REPLY"`,
	} {
		f.Add([]byte(seed))
	}
	s := startServer(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		reply := s.NewReply()
		event := []byte(strings.ReplaceAll(string(raw), "REPLY", reply.URL))
		runs := 0
		h := customresource.Wrap(func(context.Context, cfn.Event) (string, map[string]any, error) { runs++; return "", nil, nil },
			customresource.Options{Logger: slog.New(slog.DiscardHandler), AllowLoopback: true,
				Transport: transport(func(r *http.Request) (*http.Response, error) {
					if r.URL.String() != reply.URL { // another loopback URL
						return nil, errors.ErrUnsupported
					}
					return http.DefaultTransport.RoundTrip(r)
				})})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		err := h(ctx, event)

		var m map[string]any
		parsed := json.Unmarshal(event, &m) == nil
		text := func(name string) string { v, _ := m[name].(string); return v }
		valid := parsed && text("StackId") != "" && text("RequestId") != "" && text("LogicalResourceId") != "" &&
			(text("RequestType") == "Create" || (text("RequestType") == "Update" || text("RequestType") == "Delete") && text("PhysicalResourceId") != "")
		if runs > 0 && !valid {
			t.Errorf("the handler ran for %s", raw)
		}
		if puts := reply.Puts(); puts > 1 || puts == 0 && err == nil && text("ResponseURL") == reply.URL {
			t.Errorf("%d answers and %v for %s", puts, err, raw)
		}
		if reply.Puts() == 1 {
			res, err := reply.Wait(t.Context())
			if err == nil && res.Status == cfn.StatusSuccess && !valid {
				t.Errorf("SUCCESS for %s", raw)
			}
			if runs == 1 && err != nil {
				t.Errorf("answer to %s: %v", raw, err)
			}
		}
	})
}
