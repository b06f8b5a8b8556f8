package doctor

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider/types"

	"agentcore-mcp-auth/pkg/authorizer"
)

// case 69: the forms of an address, and what is wrong with each.
func TestParseEndpoint(t *testing.T) {
	const arn = "arn:aws:bedrock-agentcore:eu-central-1:123456789012:runtime/calc-0123456789"
	const escaped = "arn%3Aaws%3Abedrock-agentcore%3Aeu-central-1%3A123456789012%3Aruntime%2Fcalc-0123456789"
	const host = "https://bedrock-agentcore.eu-central-1.amazonaws.com/runtimes/"
	for _, tt := range []struct {
		raw, base  string
		url, cause string // cause: part of it
		right      string
	}{
		{arn, "", host + escaped + "/invocations?qualifier=DEFAULT", "", ""},
		{arn, "http://127.0.0.1:1", "http://127.0.0.1:1/runtimes/" + escaped + "/invocations?qualifier=DEFAULT", "", ""},
		{host + escaped + "/invocations?qualifier=prod", "", host + escaped + "/invocations?qualifier=prod", "", ""},
		{"https://mcp.example.com/mcp", "", "https://mcp.example.com/mcp", "", ""},
		{"http://127.0.0.1:8000/mcp", "", "http://127.0.0.1:8000/mcp", "", ""},
		{"http://localhost:8000/mcp", "", "http://localhost:8000/mcp", "", ""},
		{escaped, "", "", "escaped already", arn},
		{strings.ReplaceAll(escaped, "%", "%25"), "", "", "escaped already", arn},
		{host + strings.ReplaceAll(escaped, "%", "%25") + "/invocations", "", "", "escaped twice", arn},
		{host + arn + "/invocations", "", "", "not escaped", arn},
		{host + strings.ReplaceAll(escaped, "%3A", ":") + "/invocations", "", "", "not escaped", arn},
		{host + escaped, "", "", "does not end in /invocations", arn},
		{host + escaped + "/invocations/mcp", "", "", "does not end in /invocations", arn},
		{host + "calc-0123456789/invocations", "", "", "no runtime's ARN", ""},
		{strings.Replace(host, "eu-central-1", "us-east-1", 1) + escaped + "/invocations", "", "", "the host in us-east-1", arn},
		{arn + "/runtime-endpoint/DEFAULT", "", "", "runtime's endpoint", arn},
		{"arn:aws:bedrock-agentcore:eu-central-1:123456789012:gateway/g-0123456789", "", "", "gateway", ""},
		{"arn:aws:s3:::bucket", "", "", "something in s3", ""},
		{"arn:aws", "", "", "not a whole runtime ARN", ""},
		{"arn:aws:bedrock-agentcore:eu-central-1:123456789012:runtime/calc", "", "", "runtime ARN", ""},
		{"calc-0123456789", "", "", "runtime's id", ""},
		{"calculator", "", "", "neither an ARN nor a URL", ""},
		{"", "", "", "neither an ARN nor a URL", ""},
		{"ftp://mcp.example.com/", "", "", "neither an ARN nor a URL", ""},
		{"http://mcp.example.com/mcp", "", "", "https only", ""},
		{"https://me:pw@mcp.example.com/mcp", "", "", "user name", ""},
		{"https://[::1/mcp", "", "", "neither an ARN nor a URL", ""},
	} {
		e, cause, right := parseEndpoint(tt.raw, tt.base)
		if e.url != tt.url || (cause == "") != (tt.cause == "") || !strings.Contains(cause, tt.cause) || right != tt.right {
			t.Errorf("%s\ngot  %s, %q, %s\nwant %s, %q, %s", tt.raw, e.url, cause, right, tt.url, tt.cause, tt.right)
		}
		if strings.Contains(e.url, "/runtimes/") && (e.arn != arn || e.region != "eu-central-1" || e.account != "123456789012" || e.id != "calc-0123456789") {
			t.Errorf("%s: got %+v", tt.raw, e)
		}
	}
}

func TestSample(t *testing.T) {
	for schema, want := range map[string]string{
		`{"type":"object"}`: `{}`,
		`{"type":"object","properties":{"a":{"type":"integer","minimum":3},"b":{"type":"string","minLength":2},"c":{"type":"boolean"},"d":{"type":"array"},"e":{"type":"string"}},"required":["a","b","c","d"]}`:   `{"a":3,"b":"aa","c":false,"d":[]}`,
		`{"type":"object","properties":{"a":{"enum":["x","y"]},"b":{"const":7},"c":{"type":"string","default":"z"},"d":{"type":"string","format":"date","examples":["2026-01-01"]}},"required":["a","b","c","d"]}`: `{"a":"x","b":7,"c":"z","d":"2026-01-01"}`,
		`{"type":"object","properties":{"a":{"type":"object","properties":{"b":{"type":"number"}},"required":["b"]}},"required":["a"]}`:                                                                            `{"a":{"b":1}}`,
		// What must fit something is left alone.
		`{"type":"object","properties":{"a":{"type":"string","pattern":"^[0-9]+$"}},"required":["a"]}`:              "",
		`{"type":"object","properties":{"a":{"type":"string","format":"uri"}},"required":["a"]}`:                    "",
		`{"type":"object","properties":{"a":{"type":"integer","exclusiveMinimum":5}},"required":["a"]}`:             "",
		`{"type":"object","properties":{"a":{"type":"array","minItems":1}},"required":["a"]}`:                       "",
		`{"type":"object","properties":{"a":{"$ref":"#/$defs/a"}},"required":["a"]}`:                                "",
		`{"type":"object","properties":{},"required":["a"]}`:                                                        "",
		`{"type":"object","properties":{"a":{"type":["string","null"]}},"required":["a"]}`:                          "",
		strings.Repeat(`{"type":"object","required":["a"],"properties":{"a":`, 20) + `1` + strings.Repeat(`}}`, 20): "",
		`7`: "",
		// A server's schema costs no more than its size.
		`{"type":"string","minLength":1000000000000000000}`: "",
		strings.Repeat(`{"type":"object","required":["a"`+strings.Repeat(`,"a"`, 100)+`],"properties":{"a":`, 8) + `{"type":"boolean"}` + strings.Repeat(`}}`, 8): strings.Repeat(`{"a":`, 8) + `false` + strings.Repeat(`}`, 8),
	} {
		v, ok := sample(json.RawMessage(schema), 0)
		got, _ := json.Marshal(v)
		if ok != (want != "") || ok && string(got) != want {
			t.Errorf("%.200s\ngot  %s %t\nwant %s", schema, got, ok, want)
		}
	}
}

// case 131: rules are compared whole, each by itself.
func TestRules(t *testing.T) {
	c := claims{Issuer: "https://i", ClientID: "me", Scopes: []string{"a/read", "a/write"}, Audience: []string{"web"},
		all: map[string]json.RawMessage{"env": json.RawMessage(`"prod"`), "groups": json.RawMessage(`["x","y"]`)}}
	for _, tt := range []struct {
		what   string
		rules  rules
		issuer string
		failed string
	}{
		{"none", rules{}, "https://i", ""},
		{"all", rules{clients: []string{"you", "me"}, audiences: []string{"web"}, scopes: []string{"a/admin", "a/write"}}, "https://i", ""},
		{"issuer with a slash", rules{}, "https://i/", "authorizer.discovery"},
		{"client in part", rules{clients: []string{"m", "mee"}}, "https://i", "authorizer.clients"},
		{"no client", rules{clients: []string{}}, "https://i", "authorizer.clients"},
		{"audience", rules{audiences: []string{"me"}}, "https://i", "authorizer.audience"},
		{"scope in part", rules{scopes: []string{"a", "read"}}, "https://i", "authorizer.scopes"},
		{"claim", rules{claims: []authorizer.Claim{{Name: "env", Operator: authorizer.Equals, Values: []string{"prod"}}}}, "https://i", ""},
		{"other claim", rules{claims: []authorizer.Claim{{Name: "env", Operator: authorizer.Equals, Values: []string{"test"}}}}, "https://i", "authorizer.claim.env"},
		{"list for a string", rules{claims: []authorizer.Claim{{Name: "groups", Operator: authorizer.Equals, Values: []string{"x"}}}}, "https://i", "authorizer.claim.groups"},
		{"list", rules{claims: []authorizer.Claim{{Name: "groups", Operator: authorizer.ContainsAny, Values: []string{"z", "y"}}}}, "https://i", ""},
		{"no such claim", rules{claims: []authorizer.Claim{{Name: "team", Operator: authorizer.Contains, Values: []string{"z"}}}}, "https://i", "authorizer.claim.team"},
	} {
		failed := ""
		for _, check := range tt.rules.examine(c, tt.issuer, "next") {
			if check.Status == Fail {
				failed += check.ID
			}
		}
		if failed != tt.failed {
			t.Errorf("%s: got %q, want %q", tt.what, failed, tt.failed)
		}
	}
}

func TestPlaceholder(t *testing.T) {
	for value, want := range map[string]bool{
		"TODO": true, "<client id>": true, "${SECRET}": true, "changeme": true, "CHANGE_ME_NOW": true, "None": true, "null": true, "xxxx": true,
		"placeholder": true, "PLACEHOLDER_SECRET": true, "my-placeholder": true, "your-client-id": true, "replace_me": true, "****": true, "dummy": true,
		"1example23456789": false, "calculator/invoke": false, "eu-central-1_AbCdEf123": false, "nonesuch0123": false, "https://x.example.com/mcp": false, "xxray": false,
	} {
		if got := placeholder.MatchString(value); got != want {
			t.Errorf("%s: got %t", value, got)
		}
	}
}

func TestQuote(t *testing.T) {
	for word, want := range map[string]string{
		"plain-word_1.2/x:y=z,a@b+c%d": "plain-word_1.2/x:y=z,a@b+c%d",
		"":                             "''",
		"two words":                    "'two words'",
		"it's $(x)":                    `'it'\''s $(x)'`,
		"a;b":                          "'a;b'",
	} {
		if got := quote(word); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestAdvice(t *testing.T) {
	const stack = "arn:aws:cloudformation:eu-central-1:123456789012:stack/mine/1"
	for _, tt := range []struct {
		a               advice
		restore, remake string
	}{
		{advice{name: "n"}, "mcpauth setup --mcp-name n", "mcpauth setup --mcp-name n"},
		{advice{name: "n", known: true}, "mcpauth setup --mcp-name n --adopt", "mcpauth setup --mcp-name n --adopt"},
		{advice{name: "n", known: true, owner: "mcpauth"}, "mcpauth doctor --mcp-name n --fix", "mcpauth doctor --mcp-name n --fix"},
		{advice{name: "n", known: true, owner: stack}, "mcpauth doctor --mcp-name n --fix", `sam deploy --stack-name mine --parameter-overrides SecretVersion="$(date +%s)"`},
		{advice{name: "n", known: true, owner: "somebody"}, "mcpauth setup --mcp-name n --adopt", "mcpauth setup --mcp-name n --adopt"},
	} {
		if got := tt.a.restore(); got != tt.restore {
			t.Errorf("%+v: got %s, want %s", tt.a, got, tt.restore)
		}
		if got := tt.a.remake(); got != tt.remake {
			t.Errorf("%+v: got %s, want %s", tt.a, got, tt.remake)
		}
	}
	a := advice{known: true, owner: stack, flags: []string{"--parameter-prefix", "/x", "--profile", "dev", "--region", "eu-west-1"}}
	if got, want := a.remake(), `sam deploy --stack-name mine --region eu-west-1 --profile dev --parameter-overrides SecretVersion="$(date +%s)"`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	a = advice{name: "n", region: "eu-central-1", flags: []string{"--region", "eu-central-1", "--profile", "my dev"}}
	if got, want := a.mcpauth("doctor", "--region", "us-east-1"), "mcpauth doctor --mcp-name n --region us-east-1 --profile 'my dev'"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := a.aws("us-east-1", "sts", "get-caller-identity"), "aws sts get-caller-identity --region us-east-1 --profile 'my dev'"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestAllow(t *testing.T) {
	for identity, want := range map[string]string{
		"arn:aws:sts::123456789012:assumed-role/agent/me": "aws iam put-role-policy --role-name agent ",
		"arn:aws:iam::123456789012:user/team/me":          "aws iam put-user-policy --user-name me ",
		"arn:aws:iam::123456789012:root":                  "aws organizations list-policies ",
		"":                                                "aws organizations list-policies ",
	} {
		if got := allow(identity, "ssm:GetParametersByPath", "arn:x"); !strings.HasPrefix(got, want) {
			t.Errorf("%s: got %s", identity, got)
		}
	}
}

func TestClean(t *testing.T) {
	long := clean(strings.Repeat("ä", 500))
	if len(long) > maxQuote+len("…") || !strings.HasSuffix(long, "ä…") {
		t.Errorf("got %s", long)
	}
	for in, want := range map[string]string{
		"a\n\tb\x1b[31m\x07":                            "a b[31m",
		"at https://me:pw@mcp.example.com/a@b no":       "at https://[secret]@mcp.example.com/a@b no",
		"Bearer abcdefghijklmnop and more":              "[secret] and more",
		"x eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJ4In0.c2ln y": "x [secret] y",
	} {
		if got := clean(in); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if got := list([]string{"a", "b", "c", "d", "e", "f", "g"}); got != "a, b, c, d, e and 2 more" {
		t.Errorf("got %s", got)
	}
}

// An app client that was made for people, or by hand, does not get a token.
func TestCheckGrant(t *testing.T) {
	const machine, code = types.OAuthFlowTypeClientCredentials, types.OAuthFlowTypeCode
	for _, tt := range []struct {
		flows []types.OAuthFlowType
		on    bool
		want  Status
		found string
	}{
		{[]types.OAuthFlowType{machine}, true, Pass, "client_credentials"},
		{[]types.OAuthFlowType{machine}, false, Fail, "switched off"},
		{[]types.OAuthFlowType{code}, true, Fail, "grants code"},
		{nil, false, Fail, "no OAuth grant"},
	} {
		e := &exam{client: &types.UserPoolClientType{AllowedOAuthFlows: tt.flows, AllowedOAuthFlowsUserPoolClient: &tt.on}}
		if c := e.checkGrant(); c.Status != tt.want || !strings.Contains(c.Found, tt.found) {
			t.Errorf("%v, OAuth %t: got %+v, want %s and %q", tt.flows, tt.on, c, tt.want, tt.found)
		}
	}
}
