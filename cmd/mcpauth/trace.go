package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"agentcore-mcp-auth/pkg/localaws"
)

// step is one line of the trace.
type step struct {
	Service string  `json:"service"`
	Text    string  `json:"text"`
	MS      float64 `json:"ms"`
}

// tracer turns recorded requests into steps. The requests of one MCP handshake
// become one step.
type tracer struct {
	emit      func(step)
	handshake []string // its methods so far, until tools/list
	ms        float64  // their total time
}

// record takes one request after the other. It ignores requests that are signed
// with the account's own credentials: those are CloudFormation's.
func (t *tracer) record(r localaws.Record) {
	if strings.Contains(r.RequestHeader.Get("Authorization"), "Credential="+localaws.AccessKeyID+"/") {
		return
	}
	s := step{Service: r.Service, MS: float64(r.Duration.Microseconds()) / 1000}
	switch r.Service {
	case "ssm":
		s.Text = r.Operation + " " + parameterName(r.RequestBody)
	case "oidc":
		s.Text = r.Method + "  …" + r.Path[max(strings.LastIndex(r.Path, "/.well-known"), 0):]
		if strings.HasPrefix(r.RequestHeader.Get("User-Agent"), localaws.FrontDoorAgent) {
			s.Service = "door"
		}
	case "oauth":
		s.Text = r.Method + " …" + r.Path[max(strings.LastIndex(r.Path, "/oauth2"), 0):] + "  " + describeToken(r)
	case "agentcore":
		s.Service = "mcp"
		method, detail := describeMCP(r)
		if method == "initialize" || method == "notifications/initialized" {
			if r.Status/100 == 2 {
				if method == "initialize" {
					t.handshake = append(t.handshake, method)
				}
				t.ms += s.MS
				return
			}
		}
		s.Text = strings.Join(append(t.handshake, method), ", ") + detail
		s.MS += t.ms
		t.handshake, t.ms = nil, 0
	case "registry": // the end of the path says what it is about
		s.Text = r.Method + " " + r.Path[strings.LastIndex(r.Path, "/")+1:]
	case "bedrock":
		s.Text = r.Operation + describeConverse(r)
	default:
		s.Text = r.Operation
	}
	if r.Status/100 != 2 {
		s.Text += fmt.Sprintf("  %d", r.Status)
		if typ := r.ResponseHeader.Get("X-Amzn-Errortype"); typ != "" {
			s.Text += " " + typ
		}
	}
	t.emit(s)
}

func parameterName(body []byte) string {
	var in struct {
		Name, Path string
		Names      []string
	}
	json.Unmarshal(body, &in)
	return strings.Join(append(in.Names, in.Name+in.Path), " ")
}

// describeToken describes a token request without its secrets: the grant, the
// client, the scope and the lifetime. It decodes the token and does not show it.
func describeToken(r localaws.Record) string {
	form, _ := url.ParseQuery(string(r.RequestBody))
	req := http.Request{Header: r.RequestHeader}
	client, _, ok := req.BasicAuth()
	if !ok {
		client = form.Get("client_id")
	}
	var answer struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int    `json:"expires_in"`
		Error       string `json:"error"`
	}
	json.Unmarshal(r.ResponseBody, &answer)
	if answer.AccessToken == "" {
		return fmt.Sprintf("%s -> %s, client %s", form.Get("grant_type"), answer.Error, short(client))
	}
	return fmt.Sprintf("%s -> %d min, client %s, scope %s", form.Get("grant_type"), answer.ExpiresIn/60, short(client), tokenScope(answer.AccessToken))
}

// tokenScope returns the scope claim of a JWT.
func tokenScope(token string) string {
	var claims struct{ Scope string }
	decoded, _ := decodeToken(token)
	json.Unmarshal(decoded.Claims, &claims)
	return claims.Scope
}

// describeMCP returns the JSON-RPC method of a request and the result.
func describeMCP(r localaws.Record) (method, detail string) {
	var request struct{ Method string }
	if json.Unmarshal(r.RequestBody, &request); request.Method == "" {
		return r.Operation, ""
	}
	var answer struct {
		Result struct {
			Tools   []struct{ Name string }
			Content []struct{ Text string }
			IsError bool
		}
		Error *struct {
			Code    int
			Message string
		}
	}
	json.Unmarshal(jsonBody(r), &answer)
	var parts []string
	for _, tool := range answer.Result.Tools {
		parts = append(parts, tool.Name)
	}
	for _, content := range answer.Result.Content {
		parts = append(parts, cut(content.Text))
	}
	if e := answer.Error; e != nil {
		parts = append(parts, fmt.Sprintf("error %d %s", e.Code, cut(e.Message)))
	}
	if len(parts) == 0 {
		return request.Method, ""
	}
	return request.Method, " -> " + strings.Join(parts, ", ")
}

// jsonBody returns the JSON of an answer, also from an event stream.
func jsonBody(r localaws.Record) []byte {
	if !strings.HasPrefix(r.ResponseHeader.Get("Content-Type"), "text/event-stream") {
		return r.ResponseBody
	}
	for line := range strings.Lines(string(r.ResponseBody)) {
		if data, ok := strings.CutPrefix(line, "data:"); ok {
			return []byte(data)
		}
	}
	return nil
}

// describeConverse returns how a model call ended and which tools it asked for.
func describeConverse(r localaws.Record) string {
	var answer struct {
		StopReason string
		Output     struct {
			Message struct {
				Content []struct {
					ToolUse *struct {
						Name  string
						Input json.RawMessage
					}
				}
			}
		}
	}
	if json.Unmarshal(r.ResponseBody, &answer); answer.StopReason == "" {
		return ""
	}
	text := " -> " + answer.StopReason
	for _, c := range answer.Output.Message.Content {
		if c.ToolUse != nil {
			text += fmt.Sprintf(" %s %s", c.ToolUse.Name, cut(string(c.ToolUse.Input)))
		}
	}
	return text
}

// short abbreviates an identifier to what tells it from others.
func short(id string) string {
	if len(id) <= 4 {
		return id
	}
	return id[:4] + "…"
}

// cut shortens text to the length of a readable line.
func cut(s string) string {
	const most = 80
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}
