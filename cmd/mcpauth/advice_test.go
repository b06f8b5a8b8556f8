//go:build unix

package main

import (
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/spf13/cobra"

	"agentcore-mcp-auth/pkg/doctor"
)

// advised matches a command of this program that a message tells somebody to
// run.
var advised = regexp.MustCompile(`(?:next +|next: |with: |mend it: |see: |request: |&& )(?:[A-Z_]+=\S+ )?(mcpauth [^";\n]*)`)

// takes caches the results of accepted, by command.
var takes sync.Map

// accepted parses a command of this program like a shell, and returns the error
// that it would end with, without running it.
func accepted(command string) error {
	if known, ok := takes.Load(command); ok {
		err, _ := known.(error)
		return err
	}
	out, err := exec.Command("sh", "-c", `for word in `+command+`; do printf '%s\0' "$word"; done`).Output()
	if err == nil {
		root := newRoot()
		var disarm func(*cobra.Command)
		disarm = func(cmd *cobra.Command) {
			cmd.RunE = func(*cobra.Command, []string) error { return nil }
			for _, c := range cmd.Commands() {
				disarm(c)
			}
		}
		disarm(root)
		root.SetArgs(strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")[1:])
		root.SetOut(io.Discard)
		root.SetErr(io.Discard)
		err = root.Execute()
	}
	takes.Store(command, err)
	return err
}

// checkAdvice fails if this program would not accept a printed command.
func checkAdvice(t *testing.T, printed string) {
	t.Helper()
	for _, m := range advised.FindAllStringSubmatch(printed, -1) {
		if err := accepted(m[1]); err != nil {
			t.Errorf("%s: %v", m[1], err)
		}
	}
}

// Every explanation's next command is a valid one.
func TestExplain_advice(t *testing.T) {
	if accepted("mcpauth doctor --no-such-flag x") == nil || accepted("mcpauth tools") == nil || accepted("mcpauth mend") == nil {
		t.Fatal("anything is accepted")
	}
	var texts []string
	for status := 100; status < 600; status++ {
		texts = append(texts, fmt.Sprintf("HTTP/1.1 %d\n\n", status))
	}
	for code := -32099; code <= -32000; code++ {
		texts = append(texts, fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"error":{"code":%d,"message":"x"}}`, code))
	}
	for _, code := range []int{-32600, -32601, -32602, -32603, -32700} {
		texts = append(texts, fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"error":{"code":%d,"message":"x"}}`, code))
	}
	for _, claim := range []string{"client_id", "aud", "scope", "team"} {
		texts = append(texts, fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"error":{"code":-32001,"message":"Claim '%s' value mismatch"}}`, claim))
	}
	for _, kind := range []string{"invalid_client", "invalid_scope", "unauthorized_client", "invalid_grant", "invalid_request", "invalid_target"} {
		texts = append(texts, fmt.Sprintf(`{"error":%q}`, kind))
	}
	for _, code := range []string{
		"configuration_error", "mcp_unavailable", "token_refused", "model_refused", "model_throttled", "deadline_exceeded", "unsupported_event", "internal_error",
	} {
		texts = append(texts, fmt.Sprintf(`{"error":{"code":%q,"message":"x"}}`, code))
	}
	for _, kind := range []string{"ExpiredToken", "ParameterNotFound", "AccessDeniedException", "ThrottlingException", "ValidationException"} {
		texts = append(texts, fmt.Sprintf("An error occurred (%s) when calling the Converse operation: x", kind))
	}
	found := 0
	for _, flags := range [][]string{nil, {"--parameter-prefix", "/app/other", "--region", "eu-west-1", "--profile", "my dev"}} {
		for _, text := range texts {
			x, err := doctor.Explain(t.Context(), text, doctor.Config{Name: "calculator", Flags: flags})
			if err != nil {
				t.Errorf("%s: %v", text, err)
			}
			for _, c := range x.Causes {
				if strings.HasPrefix(c.Next, "mcpauth ") {
					found++
				}
				checkAdvice(t, "next: "+c.Next)
			}
		}
	}
	if found < 500 {
		t.Errorf("found %d commands of this program, want those of every text", found)
	}
}
