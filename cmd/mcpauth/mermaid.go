package main

import (
	"fmt"
	"path"
	"regexp"
	"strings"
)

// mermaid draws the demo's run as a sequence diagram in Mermaid's language.
// Nothing in it is random: two runs with the same prompt give the same text.
// https://mermaid.js.org/syntax/sequenceDiagram.html
func (r demoReport) mermaid() string {
	d := diagram{}
	d.line("sequenceDiagram")
	for _, p := range [][2]string{
		{"C", "CloudFormation"}, {"S", "cognito-setup"}, {"N", "image-publisher"}, {"R", "ECR"}, {"U", "you"}, {"A", "agent"}, {"I", "Cognito"},
		{"P", "Parameter Store"}, {"B", "Bedrock"}, {"D", "AgentCore"}, {"M", "MCP server"},
	} {
		d.line("participant %s as %s", p[0], p[1])
	}
	d.line("Note over C,M: deploy")
	d.message("C", "->>", "S", "Create Custom::MCPClient")
	d.setup(r.Setup.Steps)
	d.message("S", "-->>", "C", "SUCCESS, scope "+r.Setup.Scope)
	d.message("C", "->>", "N", "Create Custom::MCPImage")
	d.message("N", "->>", "R", "GetAuthorizationToken, push")
	d.message("N", "-->>", "C", "SUCCESS, image by digest")
	d.message("C", "->>", "D", "Create runtime with that image, for this client and this scope alone")
	d.message("D", "->>", "R", "pull")

	d.line("Note over C,M: refuse")
	d.message("U", "->>", "D", "tools/call without a token")
	challenge, _, _ := strings.Cut(r.Refuse.Challenge, "=")
	d.message("D", "-->>", "U", fmt.Sprintf("%d WWW-Authenticate: %s=…", r.Refuse.Status, challenge))

	d.line("Note over C,M: ask")
	d.message("U", "->>", "A", r.Ask.Prompt)
	d.ask(r.Ask.Steps)
	d.message("A", "-->>", "U", r.Ask.output)
	return d.String()
}

// diagram collects the text.
type diagram struct{ strings.Builder }

func (d *diagram) line(format string, args ...any) {
	indent := "    "
	if d.Len() == 0 {
		indent = ""
	}
	fmt.Fprintf(d, indent+format+"\n", args...)
}

// message draws an arrow. It escapes # and ;, which are special to Mermaid, and
// angle brackets, which are special to HTML; only our own br stays.
func (d *diagram) message(from, arrow, to, text string) {
	text = strings.NewReplacer("#", "#35;", ";", "#59;", "<br/>", "<br/>", "<", "#lt;", ">", "#gt;", "\n", " ").Replace(text)
	d.line("%s%s%s: %s", from, arrow, to, text)
}

// serviceActors maps the service of a step to the participant that answers for
// it.
var serviceActors = map[string]string{"ssm": "P", "cognito-idp": "I", "oidc": "I", "oauth": "I", "door": "I", "bedrock": "B"}

// setup draws what cognito-setup did: one arrow for each run of requests to the
// same service.
func (d *diagram) setup(steps []step) {
	var rows []string
	last := ""
	flush := func() {
		if len(rows) > 0 {
			d.message("S", "->>", last, strings.Join(rows, "<br/>"))
		}
		rows = nil
	}
	for _, st := range steps {
		actor, known := serviceActors[st.Service]
		if !known {
			continue // the reply to CloudFormation, which the caller draws
		}
		if actor != last {
			flush()
		}
		last = actor
		operation, name, named := strings.Cut(st.Text, " ")
		if strings.Contains(name, "/.lock/") {
			name = "of a lock"
		} else if named {
			name = path.Base(name)
		}
		if n := len(rows); n > 0 && named && strings.HasPrefix(rows[n-1], operation+" ") {
			rows[n-1] += ", " + name
		} else {
			rows = append(rows, strings.TrimSpace(operation+" "+name))
		}
	}
	flush()
}

// clientID matches the only random part in the text of a step.
var clientID = regexp.MustCompile(`, client \S+…`)

// ask draws what the agent did. The front door makes its own requests before it
// admits the request that follows them.
func (d *diagram) ask(steps []step) {
	var door []step
	for _, st := range steps {
		if st.Service == "door" {
			door = append(door, st)
			continue
		}
		request, reply, answered := strings.Cut(clientID.ReplaceAllString(st.Text, ""), " -> ")
		request = strings.Join(strings.Fields(request), " ")
		if st.Service == "mcp" {
			d.message("A", "->>", "D", request+", with the token")
			for _, read := range door {
				d.message("D", "->>", "I", strings.Join(strings.Fields(read.Text), " "))
			}
			door = nil
			d.message("D", "->>", "M", request)
			if answered {
				d.message("M", "-->>", "A", reply)
			}
			continue
		}
		actor, known := serviceActors[st.Service]
		if !known {
			continue
		}
		d.message("A", "->>", actor, request)
		if answered {
			d.message(actor, "-->>", "A", reply)
		}
	}
}
