//go:build unix

package main

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"agentcore-mcp-auth/pkg/localaws/cloudformation"
)

var update = flag.Bool("update", false, "rewrite the figures of README.md")

// elsewhere lists commands of the pages that do not run here, by their
// beginnings, each with the reason.
var elsewhere = []struct{ command, reason string }{
	{"sam ", "it wants an account, or Docker"},
	{"bin/mcpauth tools --mcp-name mcp_second_calculator", "it wants what sam deployed; TestPages_template runs it"},
	{"git pull", "there is nothing to pull from"},
	{"go test ", "this is that, or a measurement"},
	{"go run ./docs/owntool", "docs/owntool runs it, and the page's request"},
	{"curl -s http://127.0.0.1:8000/mcp ", "docs/owntool sends it"},
	{"aws logs tail ", "only version 2 of aws has it, and the stand-in keeps no logs"},
}

// says holds what the pages promise about the output of some commands.
var says = map[string]string{
	"aws bedrock-agentcore invoke-agent-":  `"statusCode": 200`,
	"aws events put-events":                `"FailedEntryCount": 0`,
	"aws lambda invoke":                    `"StatusCode": 200`,
	"bin/mcpauth call add_numbers a=2 b=2": `(?m)^4$`,
	"bin/mcpauth explain <":                `401`,
	"bin/mcpauth invoke ":                  `The sum of 2 \+ 2 = 4\.`,
	"curl -i http://127.0.0.1:8000/mcp":    `(?is) 401 .*WWW-Authenticate: Bearer .*/\.well-known/oauth-protected-resource/mcp`,
	"curl -N ":                             `event: done`,
	"make invoke-cfn-create":               `"SUCCESS"`,
	"make invoke-ask":                      `The sum of 2 \+ 2 = 4\.`,
	"make invoke-sqs":                      `"batchItemFailures":\[\]`,
}

// prelude prepares a shell for the pages' commands. Targets that send events
// send them to the page's stack; other targets are only looked at. Commands that
// the stand-in does not implement are checked against the aws command's own
// knowledge of services, operations and options.
const prelude = `set -eo pipefail
make() {
	local recipe
	recipe=$(command make -n "$@") || return
	case $1 in invoke-*) eval "$(tail -n 1 <<<"${recipe//mcpauth local/mcpauth local --addr $ADDR}")" ;; esac
}
aws() {
	case "$1 $2" in
	"bedrock-agentcore invoke-agent-runtime" | "bedrock-agentcore-control get-agent-runtime" | "cloudformation describe-stacks" | "events put-events" | "lambda invoke")
		command aws "$@" ;;
	*) command aws "$@" --generate-cli-skeleton input ;;
	esac
}
`

var (
	fenced      = regexp.MustCompile("(?ms)^```.*?^```$\n?")
	indented    = regexp.MustCompile(`(?m)(?:^ {4}.+\n)+`)
	inline      = regexp.MustCompile("`((?:bin/mcpauth|make|aws|sam|go|curl|docker|git) [^`\n]+)`")
	shellFence  = regexp.MustCompile("(?m)^```(?:sh|bash|shell|console)")
	verbAlone   = regexp.MustCompile(`^bin/mcpauth [a-z]+$`)
	tools       = regexp.MustCompile(`(?:^|\$\(|\| |&& )(aws|awk|curl|make|go) `)
	wantsStack  = regexp.MustCompile(`bin/mcpauth \w+ |make invoke-`)
	changes     = regexp.MustCompile(`(?m)bin/mcpauth (?:setup|teardown) --`)
	bringsUp    = regexp.MustCompile(`(?m)^    bin/mcpauth local  `)
	placeholder = regexp.MustCompile(`\b(?:STACK|NAME|AGENT|ID|MODEL|FILE|ARN|HANDLE)\b`)
)

// commandsOf are the commands of a page in its order, each block together.
func commandsOf(text string) [][]string {
	var units [][]string
	text = fenced.ReplaceAllString(text, "\n")
	for _, paragraph := range strings.SplitAfter(text, "\n\n") {
		for _, block := range indented.FindAllString(paragraph, -1) {
			block = strings.ReplaceAll(block, "\\\n", "")
			var unit []string
			for line := range strings.Lines(block) {
				unit = append(unit, strings.TrimSpace(line))
			}
			units = append(units, unit)
		}
		for _, m := range inline.FindAllStringSubmatch(indented.ReplaceAllString(paragraph, ""), -1) {
			units = append(units, []string{strings.ReplaceAll(m[1], `\|`, "|")})
		}
	}
	return units
}

// Every command in the pages works, in the order in which a reader comes to it,
// against a stack on this machine: the page's own where it sets something up.
func TestPages_commands(t *testing.T) {
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("the pages are written for bash")
	}
	t.Parallel()
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(pages) < 5 {
		t.Fatalf("found %d pages: %v", len(pages), err)
	}
	shared := newReader(t)
	shared.up(t, "bin/mcpauth local")
	var all strings.Builder
	for _, path := range append(pages, "../../README.md", "../../CONTRIBUTING.md") {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
		if shellFence.Match(text) {
			t.Errorf("%s has commands in a fence: indent them by four blanks, so that they are run", path)
		}
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			r := newReader(t)
			switch {
			case !wantsStack.Match(text) || bringsUp.Match(text):
			case changes.Match(text):
				r.up(t, "bin/mcpauth local")
			default:
				r.joins(shared)
			}
			var done []string
			for _, unit := range commandsOf(string(text)) {
				if text := strings.Join(unit, "\n"); !slices.Contains(done, text) {
					done = append(done, text)
					t.Run(unit[0][:min(len(unit[0]), 50)], func(t *testing.T) { r.try(t, unit) })
				}
			}
		})
	}
	for _, e := range elsewhere {
		if !strings.Contains(all.String(), e.command) {
			t.Errorf("no page has %q any more", e.command)
		}
	}
	for command := range says {
		if !strings.Contains(all.String(), command) {
			t.Errorf("no page has %q any more", command)
		}
	}
}

// reader follows one page.
type reader struct {
	page *testing.T // which what stays up stays up for
	dir  string     // a copy of the repository, built
	env  []string
	at   map[string]string // placeholders' values
	port string            // for servers of the page
}

func newReader(t *testing.T) *reader {
	r := &reader{page: t, dir: t.TempDir(), at: map[string]string{
		"STACK": localStack, "NAME": "mcp_simple_calculator", "MODEL": localModel, "FILE": "demo.mmd", "HANDLE": "x", "ARN": "arn:aws:sqs:eu-central-1:000000000000:x",
	}}
	repository := os.DirFS("../..")
	err := fs.WalkDir(repository, ".", func(path string, entry fs.DirEntry, err error) error {
		switch to := filepath.Join(r.dir, path); {
		case err != nil:
			return err
		case path != "." && strings.HasPrefix(path, ".") || path == "bin":
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		case entry.IsDir():
			return os.MkdirAll(to, 0o700)
		default:
			content, err := fs.ReadFile(repository, path)
			if err != nil {
				return err
			}
			return os.WriteFile(to, content, 0o700)
		}
	})
	if err == nil {
		err = os.Symlink(binaries, filepath.Join(r.dir, "bin"))
	}
	for name, content := range map[string]string{
		"event.json":   `{"prompt":"What is 2+2?"}`,
		"response.txt": "HTTP/1.1 401 Unauthorized\nWWW-Authenticate: Bearer resource_metadata=\"https://x\"\n\n",
	} {
		if err == nil {
			err = os.WriteFile(filepath.Join(r.dir, name), []byte(content), 0o600)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	for r.port == "" { // a free one, below those that the system gives to others meanwhile
		port := strconv.Itoa(20000 + rand.N(10000))
		if l, err := net.Listen("tcp", "127.0.0.1:"+port); err == nil {
			l.Close()
			r.port = port
		}
	}
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "AWS_") && !strings.HasPrefix(kv, "MAKE") && !strings.HasPrefix(kv, "MFLAGS=") { // of make test
			r.env = append(r.env, kv)
		}
	}
	r.env = append(r.env, "PORT="+r.port, "AWS_PAGER=", "AWS_SESSION_TOKEN=",
		"HTTPS_PROXY=http://127.0.0.1:1") // nothing leaves this machine
	return r
}

// up runs a `mcpauth local` of the page and puts its exports and outputs into
// the shell.
func (r *reader) up(t *testing.T, command string) {
	t.Helper()
	out := r.start(t, strings.Replace(command, "bin/mcpauth local", "bin/mcpauth local --addr 127.0.0.1:0", 1), "\nUp at ")
	for _, m := range regexp.MustCompile(`(?m)^export (.*)$`).FindAllStringSubmatch(out, -1) {
		r.env = append(r.env, m[1])
	}
	url := regexp.MustCompile(`AWS_ENDPOINT_URL=(\S+)`).FindStringSubmatch(out)[1]
	st, err := describeStack(t.Context(), localConfig(url), localStack)
	if err != nil {
		t.Fatal(err)
	}
	o := st.Outputs
	_, r.at["ID"], _ = strings.Cut(o["McpServerArn"], "/")
	r.at["AGENT"] = o["AgentFunction"]
	r.env = append(r.env, "ADDR="+strings.TrimPrefix(url, "http://"), "URL="+o["AgentUrl"], "RUNTIME="+o["AgentRuntimeArn"],
		"ASK_QUEUE="+o["AskQueueUrl"], "ASK_TOPIC=arn:aws:sns:eu-central-1:000000000000:x", "QUEUE="+o["AskQueueUrl"])
}

// joins makes the page's commands use the stack of another reader.
func (r *reader) joins(other *reader) {
	maps.Copy(r.at, other.at)
	r.env = append(slices.Clone(other.env), "PORT="+r.port)
}

// bash prepares a script. It and all that it starts end with ctx.
func (r *reader) bash(ctx context.Context, script string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "bash", "-c", script)
	cmd.Dir, cmd.Env = r.dir, r.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// start runs a script that stays up until the page is read, and returns what it
// printed until it was ready.
func (r *reader) start(t *testing.T, script, ready string) string {
	t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := r.bash(ctx, script)
	cmd.Stdout, cmd.Stderr = write, write
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	write.Close()
	r.page.Cleanup(func() { cancel(); cmd.Wait(); read.Close() })
	var out strings.Builder
	lines := bufio.NewReader(read)
	for !strings.Contains(out.String(), ready) {
		line, err := lines.ReadString('\n')
		out.WriteString(line)
		if err != nil {
			t.Fatalf("%s\nended before it was ready: %v\n%s", script, err, &out)
		}
	}
	go io.Copy(io.Discard, lines)
	return out.String()
}

// try runs commands of the page that stand together.
func (r *reader) try(t *testing.T, unit []string) {
	var script, run, skipped []string
	background := false
	for _, command := range unit {
		i := slices.IndexFunc(elsewhere, func(e struct{ command, reason string }) bool { return strings.HasPrefix(command, e.command) })
		if i >= 0 {
			skipped = append(skipped, command+": "+elsewhere[i].reason)
			continue
		}
		if tool := missing(command); tool != "" {
			skipped = append(skipped, command+": "+tool+" is not installed, or slow")
			continue
		}
		run = append(run, command)
		if verbAlone.MatchString(command) && len(unit) == 1 {
			command += " --help"
		}
		if strings.HasPrefix(command, "bin/mcpauth local") && !strings.Contains(command, " invoke ") && !strings.HasSuffix(command, " --help") {
			r.up(t, command)
			continue
		}
		background = background || strings.HasSuffix(command, "bin/mcp-server") && strings.Contains(command, "AUTH_")
		command = strings.NewReplacer("mcpauth local invoke", "mcpauth local --addr $ADDR invoke", "mcpauth teardown", "mcpauth teardown --yes",
			"make invoke-NAME", "make invoke-ask", ":8000/", ":"+r.port+"/").Replace(command)
		script = append(script, placeholder.ReplaceAllStringFunc(command, func(name string) string { return r.at[name] }))
	}
	for _, s := range skipped {
		t.Log("not run: ", s)
	}
	switch {
	case len(script) == 0 && len(skipped) > 0:
		t.Skip(skipped[0])
	case background:
		r.start(t, prelude+strings.Join(script, "\n"), "serving on")
	case len(script) > 0:
		var out bytes.Buffer
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd := r.bash(ctx, prelude+"set -x\n"+strings.Join(script, "\n"))
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Run(); err != nil {
			t.Fatalf("%v\n%s", err, &out)
		}
		for command, want := range says {
			told := slices.ContainsFunc(run, func(c string) bool { return strings.HasPrefix(c, command) })
			if told && !regexp.MustCompile(want).Match(out.Bytes()) {
				t.Errorf("it printed\n%s\nwant %s in it", &out, want)
			}
		}
	}
}

// missing returns a program that a command needs and this machine does not have,
// or the slow program if tests are to be short.
func missing(command string) string {
	for _, m := range tools.FindAllStringSubmatch(command, -1) {
		if _, err := exec.LookPath(m[1]); err != nil || m[1] == "aws" && testing.Short() {
			return m[1]
		}
	}
	return ""
}

// The resources of more-servers.md work in template.yaml.
func TestPages_template(t *testing.T) {
	page, err := os.ReadFile("../../docs/more-servers.md")
	if err != nil {
		t.Fatal(err)
	}
	template, err := os.ReadFile("../../template.yaml")
	if err != nil {
		t.Fatal(err)
	}
	_, resources, _ := strings.Cut(string(page), "```yaml\n")
	resources, _, _ = strings.Cut(resources, "```")
	before, after, found := strings.Cut(string(template), "\nOutputs:\n")
	if !found || resources == "" {
		t.Fatal("the page or the template is of another form")
	}
	parsed, err := cloudformation.Parse(strings.NewReader(before + "\n" + resources + "\nOutputs:\n" + after))
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	if err := os.Symlink(binaries, "bin"); err != nil {
		t.Fatal(err)
	}
	s, err := newStack("", &logs{out: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if err := s.deployed.Deploy(t.Context(), parsed, map[string]string{"MoreMcpServers": "mcp_second_calculator"}); err != nil {
		t.Fatal(err)
	}
	if out, err := program(t, s.aws.Env(), "tools", "--mcp-name", "mcp_second_calculator").CombinedOutput(); err != nil || !strings.Contains(string(out), "add_numbers") {
		t.Errorf("%v: %s", err, out)
	}
	answer, err := s.ask(t.Context(), "What is 2+2?")
	if err != nil || !strings.Contains(string(answer), "The sum of 2 + 2 = 4.") {
		t.Errorf("%v: %s", err, answer)
	}
}

// random are the parts of the demo's lines that differ from run to run.
var random = regexp.MustCompile(`[0-9.]+ s\b|client [a-z0-9]{4}…|sha256:[a-f0-9]{12}…`)

// The run and the figures in README.md are the demo's. After a change:
// go test ./cmd/mcpauth -run TestPages_demo -update
func TestPages_demo(t *testing.T) {
	t.Parallel()
	diagram := filepath.Join(t.TempDir(), "demo.mmd")
	run, err := exec.Command(filepath.Join(binaries, "mcpauth"), "demo", "--mermaid", diagram).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, run)
	}
	drawn, err := os.ReadFile(diagram)
	if err != nil {
		t.Fatal(err)
	}
	const path = "../../README.md"
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	parts := figures(string(drawn))
	want := string(page)
	for _, block := range []struct{ after, fence, content string }{
		{"This is what the demo prints.", "```\n", string(run)},
		{"\n### Deploy\n", "```mermaid\n", parts["deploy"]},
		{"\n### Ask\n", "```mermaid\n", parts["ask"]},
	} {
		before, rest, found := strings.Cut(want, block.after)
		between, rest, opened := strings.Cut(rest, block.fence)
		old, rest, closed := strings.Cut(rest, "```\n")
		if !found || !opened || !closed {
			t.Fatalf("README.md has no %q with a block", block.after)
		}
		if random.ReplaceAllString(old, "") != random.ReplaceAllString(block.content, "") {
			want = before + block.after + between + block.fence + block.content + "```\n" + rest
		}
	}
	if want == string(page) {
		return
	}
	if !*update {
		t.Fatalf("README.md shows another demo than the program's, which is\n%s\nMend it with: go test ./cmd/mcpauth -run TestPages_demo -update", want)
	}
	if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

// figures returns the parts of the demo's diagram, each with only its own
// participants.
func figures(diagram string) map[string]string {
	head, rest, _ := strings.Cut(diagram, "    Note over C,M: ")
	title, participants, _ := strings.Cut(head, "\n")
	parts := map[string]string{}
	for part := range strings.SplitSeq(rest, "    Note over C,M: ") {
		name, messages, _ := strings.Cut(part, "\n")
		figure := title + "\n"
		for p := range strings.Lines(participants) {
			if actor := strings.Fields(p)[1]; regexp.MustCompile(`(?m)^    (?:` + actor + `-|\w+-+>>` + actor + `:)`).MatchString(messages) {
				figure += p
			}
		}
		parts[name] = figure + messages
	}
	return parts
}
