package doctor

import (
	"cmp"
	"regexp"
	"slices"
	"strings"

	"agentcore-mcp-auth/pkg/provision"
)

// advice makes the commands that checks suggest.
type advice struct {
	name   string // of the MCP server
	region string
	flags  []string // appended to commands of this project: names and values

	owner string // of the recorded set: provision.CommandLine, a stack's id, nobody ("")
	known bool   // whether owner is known
}

func newAdvice(cfg Config) advice {
	return advice{name: cfg.Name, region: cfg.AWS.Region, flags: cfg.Flags}
}

// mcpauth returns a command of this project about the server.
func (a advice) mcpauth(verb string, args ...string) string {
	words := append([]string{"mcpauth", verb, "--mcp-name", cmp.Or(a.name, "NAME")}, args...)
	for flag := range slices.Chunk(a.flags, 2) {
		if !slices.Contains(args, flag[0]) {
			words = append(words, flag...)
		}
	}
	return Shell(words...)
}

// flag returns the value of a flag of this project, or "".
func (a advice) flag(name string) string {
	if i := slices.Index(a.flags, name); i >= 0 {
		return a.flags[i+1]
	}
	return ""
}

// doctor returns the command of this examination.
func (a advice) doctor() string { return a.mcpauth("doctor") }

// aws returns a command of the AWS command line for region, or for the caller's
// region if that is empty.
func (a advice) aws(region string, args ...string) string {
	return Shell(slices.Concat([]string{"aws"}, args, a.account(cmp.Or(region, a.region)))...)
}

// runtimes returns the command that lists the runtimes of a region.
func (a advice) runtimes(region string) string {
	return a.aws(region, "bedrock-agentcore-control", "list-agent-runtimes", "--query", "agentRuntimes[].agentRuntimeArn")
}

// profiles returns the command that lists the inference profiles.
func (a advice) profiles() string {
	return a.aws("", "bedrock", "list-inference-profiles", "--query", "inferenceProfileSummaries[].inferenceProfileId")
}

// login returns the command that gets new AWS credentials.
func (a advice) login() string {
	return Shell(append([]string{"aws", "sso", "login"}, a.account("")...)...)
}

// account returns the flags that tell other command lines the region and the
// profile.
func (a advice) account(region string) (words []string) {
	for _, flag := range [][]string{{"--region", region}, {"--profile", a.flag("--profile")}} {
		if flag[1] != "" {
			words = append(words, flag...)
		}
	}
	return words
}

// stackName returns the name of the stack that owns the set, or "".
func (a advice) stackName() string {
	if _, rest, ok := strings.Cut(a.owner, ":stack/"); ok {
		name, _, _ := strings.Cut(rest, "/")
		return name
	}
	return ""
}

// restore returns the command that writes again what provisioning wrote, with
// the same settings.
func (a advice) restore() string {
	switch {
	case a.owned():
		return a.mcpauth("doctor", "--fix")
	case a.known:
		return a.mcpauth("setup", "--adopt")
	}
	return a.mcpauth("setup")
}

// remake returns the command that repairs the app client and what belongs to it.
// If a stack owns them, the stack's resource must do that, because other
// resources of the stack use the client's id.
func (a advice) remake() string {
	if name := a.stackName(); name != "" {
		deploy := slices.Concat([]string{"sam", "deploy", "--stack-name", name}, a.account(a.flag("--region")))
		return Shell(deploy...) + ` --parameter-overrides SecretVersion="$(date +%s)"`
	}
	return a.restore()
}

// owned reports whether the command line or a stack owns the set, so that
// provisioning may write it.
func (a advice) owned() bool {
	return a.known && (a.owner == provision.CommandLine || a.stackName() != "")
}

// restored adds restore as the repair of a failed check.
func (a advice) restored(c Check) Check {
	c.Next = a.restore()
	if a.owned() {
		c.Repair = &Repair{Restore: true}
	}
	return c
}

// remade adds remake as the repair of a failed check.
func (a advice) remade(c Check) Check {
	c.Next = a.remake()
	if a.owned() && a.stackName() == "" {
		c.Repair = &Repair{Restore: true}
	}
	return c
}

var plain = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)

// Shell returns words as a command line.
func Shell(words ...string) string {
	quoted := make([]string, len(words))
	for i, word := range words {
		quoted[i] = quote(word)
	}
	return strings.Join(quoted, " ")
}

// quote returns a word as a shell accepts it.
func quote(word string) string {
	if plain.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
