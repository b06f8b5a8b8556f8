package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"agentcore-mcp-auth/pkg/agentcore"
	"agentcore-mcp-auth/pkg/trigger"
)

// maxEvent bounds one line of an answer. A Function URL answers with up to 6 MB.
const maxEvent = 8 << 20

// post asks an agent over HTTP and shows its work as it comes.
func (d *deployed) post(cmd *cobra.Command, cfg aws.Config, e endpoint, prompt string) error {
	ctx := cmd.Context()
	body := d.request(prompt)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "text/event-stream")
	if e.session {
		session := d.session
		if session == "" {
			session = uuid.NewString()
		}
		req.Header.Set(agentcore.HeaderRuntimeSession, session)
	}
	if e.service != "" {
		creds, err := cfg.Credentials.Retrieve(ctx)
		if err != nil {
			return fmt.Errorf("reading AWS credentials: %w", err)
		}
		region := e.region
		if region == "" {
			region = cfg.Region
		}
		hash := sha256.Sum256(body)
		if err := v4.NewSigner().SignHTTP(ctx, creds, req, hex.EncodeToString(hash[:]), e.service, region, time.Now()); err != nil {
			return fmt.Errorf("signing the request: %w", err)
		}
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if errors.Is(err, syscall.ECONNREFUSED) && d.url != "" {
		return fmt.Errorf("%w; nothing listens there: start the agent, or mend --url", err)
	}
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	p := newAnswerPrinter(cmd)
	if resp.StatusCode != http.StatusOK {
		return d.refused(p, resp)
	}
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if media == "text/event-stream" {
		return d.follow(p, resp.Body)
	}
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxEvent))
	if err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	return p.done(answer)
}

// refused turns an answer with an error status into an error. The agent may have
// written it, or a service in front of it.
func (d *deployed) refused(p *answerPrinter, resp *http.Response) error {
	raw, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return fmt.Errorf("answered %s, and then: %w", resp.Status, err)
	}
	var doc struct{ Error *trigger.Error }
	if json.Unmarshal(raw, &doc) == nil && doc.Error != nil && doc.Error.Code != "" {
		return p.failed(d, string(doc.Error.Code), doc.Error.Message)
	}
	var other struct{ Message string } // encoding/json ignores the case: message fits too
	message := strings.TrimSpace(string(raw))
	if json.Unmarshal(raw, &other) == nil && other.Message != "" {
		message = other.Message
	}
	next := d.log()
	switch resp.StatusCode {
	case http.StatusForbidden:
		next = "a Function URL needs lambda:InvokeFunctionUrl and lambda:InvokeFunction, a runtime bedrock-agentcore:InvokeAgentRuntime"
	case http.StatusNotFound:
		next = "is it deployed, and in this region?"
	}
	return fmt.Errorf("answered %s: %s; %s", resp.Status, cut(message), next)
}

// follow reads server-sent events until the answer is complete.
// https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
func (d *deployed) follow(p *answerPrinter, body io.Reader) error {
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, maxEvent)
	name, data := "", ""
	for lines.Scan() {
		field, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "event":
			name = value
		case "data":
			data += value
		case "":
			if lines.Text() != "" {
				continue // an SSE comment
			}
			if ended, err := d.event(p, name, []byte(data)); ended || err != nil {
				return err
			}
			name, data = "", ""
		}
	}
	p.endLine()
	if err := lines.Err(); err != nil {
		return fmt.Errorf("the answer broke off: %w; %s", err, d.log())
	}
	return errors.New("the answer broke off; " + d.log())
}

// event shows one event and reports whether it is the last one. Events of
// unknown names are ignored.
func (d *deployed) event(p *answerPrinter, name string, data []byte) (ended bool, err error) {
	switch name {
	case "delta":
		var delta trigger.Delta
		json.Unmarshal(data, &delta)
		return false, p.delta(delta.Text)
	case "tool_use":
		var use trigger.ToolUse
		json.Unmarshal(data, &use)
		p.progress("%s/%s %s", use.Server, use.Tool, use.Input)
	case "tool_result":
		var result trigger.ToolResult
		if json.Unmarshal(data, &result); result.Error {
			p.progress("%s/%s failed after %s", result.Server, result.Tool, time.Duration(result.DurationMS)*time.Millisecond)
		}
	case "done":
		return true, p.done(data)
	case "error":
		var doc struct{ Error *trigger.Error }
		if err := json.Unmarshal(data, &doc); err != nil || doc.Error == nil {
			return true, fmt.Errorf("the agent failed and said %.200q; %s", data, d.log())
		}
		return true, p.failed(d, string(doc.Error.Code), doc.Error.Message)
	}
	return false, nil
}
