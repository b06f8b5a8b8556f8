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
	flags  []string // what commands of this project end in: names and values

	owner string // of the recorded set: provision.CommandLine, a stack's id, nobody ("")
	known bool   // owner is
}

func newAdvice(cfg Config) advice {
	return advice{name: cfg.Name, region: cfg.AWS.Region, flags: cfg.Flags}
}

// mcpauth is a command of this project about the server.
func (a advice) mcpauth(verb string, args ...string) string {
	words := append([]string{"mcpauth", verb, "--mcp-name", cmp.Or(a.name, "NAME")}, args...)
	for flag := range slices.Chunk(a.flags, 2) {
		if !slices.Contains(args, flag[0]) {
			words = append(words, flag...)
		}
	}
	return Shell(words...)
}

// flag is what a flag of this project was given, or empty.
func (a advice) flag(name string) string {
	if i := slices.Index(a.flags, name); i >= 0 {
		return a.flags[i+1]
	}
	return ""
}

// doctor is the examination itself.
func (a advice) doctor() string { return a.mcpauth("doctor") }

// aws is a command of the AWS command line, in region or, where that is empty,
// in the caller's.
func (a advice) aws(region string, args ...string) string {
	return Shell(slices.Concat([]string{"aws"}, args, a.account(cmp.Or(region, a.region)))...)
}

// runtimes lists the runtimes of a region.
func (a advice) runtimes(region string) string {
	return a.aws(region, "bedrock-agentcore-control", "list-agent-runtimes", "--query", "agentRuntimes[].agentRuntimeArn")
}

// profiles lists the inference profiles.
func (a advice) profiles() string {
	return a.aws("", "bedrock", "list-inference-profiles", "--query", "inferenceProfileSummaries[].inferenceProfileId")
}

// login gets new AWS credentials.
func (a advice) login() string {
	return Shell(append([]string{"aws", "sso", "login"}, a.account("")...)...)
}

// account are the flags of other command lines that say where.
func (a advice) account(region string) (words []string) {
	for _, flag := range [][]string{{"--region", region}, {"--profile", a.flag("--profile")}} {
		if flag[1] != "" {
			words = append(words, flag...)
		}
	}
	return words
}

// stackName is the name of the stack that owns the set, or empty.
func (a advice) stackName() string {
	if _, rest, ok := strings.Cut(a.owner, ":stack/"); ok {
		name, _, _ := strings.Cut(rest, "/")
		return name
	}
	return ""
}

// restore writes again what provisioning wrote, and with the settings that it
// was told then.
func (a advice) restore() string {
	switch {
	case a.owned():
		return a.mcpauth("doctor", "--fix")
	case a.known:
		return a.mcpauth("setup", "--adopt")
	}
	return a.mcpauth("setup")
}

// remake makes the app client and what belongs to it as it should be. With a
// stack that is its resource's work, because others of its resources go by the
// client's id.
func (a advice) remake() string {
	if name := a.stackName(); name != "" {
		deploy := slices.Concat([]string{"sam", "deploy", "--stack-name", name}, a.account(a.flag("--region")))
		return Shell(deploy...) + ` --parameter-overrides SecretVersion="$(date +%s)"`
	}
	return a.restore()
}

// owned reports whether the set is the command line's or a stack's, so that
// provisioning may write it.
func (a advice) owned() bool {
	return a.known && (a.owner == provision.CommandLine || a.stackName() != "")
}

// restored has a failed check mended by writing again what provisioning wrote.
func (a advice) restored(c Check) Check {
	c.Next = a.restore()
	if a.owned() {
		c.Repair = &Repair{Restore: true}
	}
	return c
}

// remade has it mended by making the app client and what belongs to it again.
func (a advice) remade(c Check) Check {
	c.Next = a.remake()
	if a.owned() && a.stackName() == "" {
		c.Repair = &Repair{Restore: true}
	}
	return c
}

var plain = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)

// Shell is the command line of these words.
func Shell(words ...string) string {
	quoted := make([]string, len(words))
	for i, word := range words {
		quoted[i] = quote(word)
	}
	return strings.Join(quoted, " ")
}

// quote is a word as a shell takes it.
func quote(word string) string {
	if plain.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
