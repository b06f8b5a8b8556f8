package doctor

import (
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
	words := []string{"mcpauth", verb, "--mcp-name", quote(a.server())}
	for _, arg := range args {
		words = append(words, quote(arg))
	}
	for i := 0; i+1 < len(a.flags); i += 2 {
		if !slices.Contains(args, a.flags[i]) {
			words = append(words, a.flags[i], quote(a.flags[i+1]))
		}
	}
	return strings.Join(words, " ")
}

// profile is the AWS profile that was asked for, or empty.
func (a advice) profile() string {
	if i := slices.Index(a.flags, "--profile"); i >= 0 && i+1 < len(a.flags) {
		return a.flags[i+1]
	}
	return ""
}

func (a advice) server() string {
	if a.name == "" {
		return "NAME"
	}
	return a.name
}

// doctor is the examination itself.
func (a advice) doctor() string { return a.mcpauth("doctor") }

// aws is a command of the AWS command line, in region or, where that is empty,
// in the caller's.
func (a advice) aws(region string, args ...string) string {
	words := []string{"aws"}
	for _, arg := range args {
		words = append(words, quote(arg))
	}
	if region == "" {
		region = a.region
	}
	if region != "" {
		words = append(words, "--region", quote(region))
	}
	if p := a.profile(); p != "" {
		words = append(words, "--profile", quote(p))
	}
	return strings.Join(words, " ")
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
		return "sam deploy --stack-name " + quote(name) + ` --parameter-overrides SecretVersion="$(date +%s)"`
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

// quote is a word as a shell takes it.
func quote(word string) string {
	if plain.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
