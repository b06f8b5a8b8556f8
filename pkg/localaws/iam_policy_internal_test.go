package localaws

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// document is a policy document of these statements.
func document(statements ...string) json.RawMessage {
	return json.RawMessage(`{"Version":"2012-10-17","Statement":[` + strings.Join(statements, ",") + `]}`)
}

// case 140: what policies say, as IAM reads them.
func TestEvaluate(t *testing.T) {
	const read = `{"Effect":"Allow","Action":"ssm:Get*","Resource":"arn:aws:ssm:eu-central-1:000000000000:parameter/app/*"}`
	const name = "arn:aws:ssm:eu-central-1:000000000000:parameter/app/a"
	with := func(condition string) string {
		return `{"Effect":"Allow","Action":"*","Resource":"*","Condition":` + condition + `}`
	}
	on := func(resource string) string {
		return `{"Effect":"Allow","Action":"*","Resource":"` + resource + `"}`
	}
	key := func(k, v string) map[string]string { return map[string]string{k: v} }
	for _, tt := range []struct {
		what             string
		policy           json.RawMessage
		action, resource string
		context          map[string]string
		want             decision
	}{
		{"allowed", document(read), "ssm:GetParameter", name, nil, allowed},
		{"action in another case", document(read), "SSM:getparameter", name, nil, allowed},
		{"another action", document(read), "ssm:PutParameter", name, nil, implicitlyDenied},
		{"resource in another case", document(read), "ssm:GetParameter", strings.Replace(name, "/app", "/APP", 1), nil, implicitlyDenied},
		{"resource beside the pattern", document(read), "ssm:GetParameter", strings.TrimSuffix(name, "/a"), nil, implicitlyDenied},
		{"no resource", document(read), "ssm:GetParameter", "*", nil, implicitlyDenied},
		{"no resource, every segment open", document(on("arn:aws:ssm:*:*:*")), "ssm:DescribeParameters", "*", nil, implicitlyDenied},
		{"no resource, all allowed", document(on("*")), "ssm:DescribeParameters", "*", nil, allowed},
		{"deny first", document(`{"Effect":"Deny","Action":"*","Resource":"*"}`, read), "ssm:GetParameter", name, nil, explicitlyDenied},
		{"deny last", document(read, `{"Effect":"Deny","Action":"ssm:*","Resource":"*"}`), "ssm:GetParameter", name, nil, explicitlyDenied},
		{"deny of something else", document(read, `{"Effect":"Deny","Action":"ssm:Put*","Resource":"*"}`), "ssm:GetParameter", name, nil, allowed},
		{"one statement, no list", json.RawMessage(`{"Version":"2012-10-17","Id":"x","Statement":` + read + `}`), "ssm:GetParameter", name, nil, allowed},
		{"wildcard within a segment", document(on("arn:aws:bedrock:eu-*-?::foundation-model/*")), "bedrock:InvokeModel", "arn:aws:bedrock:eu-west-3::foundation-model/a.b-v1:0", nil, allowed},
		{"wildcard for an empty segment", document(on("arn:aws:bedrock:*::foundation-model/*")), "bedrock:InvokeModel", "arn:aws:bedrock:::foundation-model/a", nil, allowed},
		{"wildcard beyond its segment", document(on("arn:aws:logs:*:group:stream:x")), "logs:PutLogEvents", "arn:aws:logs:eu-west-3:000000000000:group:stream:x", nil, implicitlyDenied},
		{"colons in the last segment", document(on("arn:aws:logs:*:*:group:*:x")), "logs:PutLogEvents", "arn:aws:logs:eu-west-3:000000000000:group:a:b:x", nil, allowed},
		{"question mark", document(on("arn:aws:ssm:eu-central-1:000000000000:parameter/app/??")), "ssm:GetParameter", name, nil, implicitlyDenied},

		{"StringEquals", document(with(`{"StringEquals":{"aws:RequestedRegion":["a","eu-west-1"]}}`)), "a:b", "*", key("aws:requestedregion", "eu-west-1"), allowed},
		{"StringEquals, key in another case", document(with(`{"StringEquals":{"AWS:requestedREGION":"eu-west-1"}}`)), "a:b", "*", key("aws:requestedregion", "eu-west-1"), allowed},
		{"StringEquals, another value", document(with(`{"StringEquals":{"aws:RequestedRegion":"eu-west-1"}}`)), "a:b", "*", key("aws:requestedregion", "eu-west-2"), implicitlyDenied},
		{"StringEquals, value in another case", document(with(`{"StringEquals":{"aws:RequestedRegion":"EU-west-1"}}`)), "a:b", "*", key("aws:requestedregion", "eu-west-1"), implicitlyDenied},
		{"StringEquals has no wildcards", document(with(`{"StringEquals":{"aws:RequestedRegion":"eu-*"}}`)), "a:b", "*", key("aws:requestedregion", "eu-west-1"), implicitlyDenied},
		{"StringEquals, no such key", document(with(`{"StringEquals":{"aws:SourceAccount":"1"}}`)), "a:b", "*", nil, implicitlyDenied},
		{"StringEqualsIfExists, no such key", document(with(`{"StringEqualsIfExists":{"aws:SourceAccount":"1"}}`)), "a:b", "*", nil, allowed},
		{"StringEqualsIfExists, another value", document(with(`{"StringEqualsIfExists":{"aws:SourceAccount":"1"}}`)), "a:b", "*", key("aws:sourceaccount", "2"), implicitlyDenied},
		{"StringNotEquals, no such key", document(with(`{"StringNotEquals":{"aws:SourceAccount":"1"}}`)), "a:b", "*", nil, allowed},
		{"StringNotEquals, one of the values", document(with(`{"StringNotEquals":{"aws:SourceAccount":["1","2"]}}`)), "a:b", "*", key("aws:sourceaccount", "2"), implicitlyDenied},
		{"StringLike", document(with(`{"StringLike":{"aws:RequestedRegion":"eu-*"}}`)), "a:b", "*", key("aws:requestedregion", "eu-west-1"), allowed},
		{"StringNotLike", document(with(`{"StringNotLike":{"aws:RequestedRegion":"eu-*"}}`)), "a:b", "*", key("aws:requestedregion", "eu-west-1"), implicitlyDenied},
		{"ArnLike", document(with(`{"ArnLike":{"aws:SourceArn":"arn:aws:x:*:1:*"}}`)), "a:b", "*", key("aws:sourcearn", "arn:aws:x:eu-west-1:1:y:z/w"), allowed},
		{"ArnLike, wildcard beyond its segment", document(with(`{"ArnLike":{"aws:SourceArn":"arn:aws:x:*:y"}}`)), "a:b", "*", key("aws:sourcearn", "arn:aws:x:eu-west-1:1:y"), implicitlyDenied},
		{"ArnEquals has wildcards", document(with(`{"ArnEquals":{"aws:SourceArn":"arn:aws:x:*:1:y*"}}`)), "a:b", "*", key("aws:sourcearn", "arn:aws:x:eu-west-1:1:y"), allowed},
		{"ArnNotEquals", document(with(`{"ArnNotEquals":{"aws:SourceArn":"arn:aws:x:*:1:y*"}}`)), "a:b", "*", key("aws:sourcearn", "arn:aws:x:eu-west-1:1:y"), implicitlyDenied},
		{"ArnNotLike", document(with(`{"ArnNotLike":{"aws:SourceArn":"arn:aws:x:*:1:y*"}}`)), "a:b", "*", key("aws:sourcearn", "arn:aws:x:eu-west-1:2:y"), allowed},
		{"Null, absent as wanted", document(with(`{"Null":{"aws:SourceArn":true}}`)), "a:b", "*", nil, allowed},
		{"Null, present", document(with(`{"Null":{"aws:SourceArn":"true"}}`)), "a:b", "*", key("aws:sourcearn", "x"), implicitlyDenied},
		{"Null, present as wanted", document(with(`{"Null":{"aws:SourceArn":"false"}}`)), "a:b", "*", key("aws:sourcearn", "x"), allowed},
		{"Bool", document(with(`{"Bool":{"aws:SourceArn":true}}`)), "a:b", "*", key("aws:sourcearn", "True"), allowed},
		{"two operators, one does not hold", document(with(`{"StringEquals":{"aws:SourceAccount":"1"},"Null":{"aws:SourceArn":"false"}}`)), "a:b", "*", key("aws:sourceaccount", "1"), implicitlyDenied},
		{"two keys, one does not hold", document(with(`{"StringEquals":{"aws:SourceAccount":"1","aws:SourceArn":"x"}}`)), "a:b", "*", key("aws:sourceaccount", "1"), implicitlyDenied},
		{"deny whose condition does not hold", document(on("*"), `{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"StringEquals":{"aws:SourceAccount":"1"}}}`), "a:b", "*", nil, allowed},
	} {
		statements, err := parsePolicies([]json.RawMessage{tt.policy})
		if err != nil {
			t.Errorf("%s: %v", tt.what, err)
			continue
		}
		if got, _ := evaluate(statements, permission{action: tt.action, resource: tt.resource, context: tt.context}); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.what, got, tt.want)
		}
	}
}

// case 140: documents that IAM refuses, and elements that the stand-in does not
// implement, are refused by name.
func TestParsePolicies_refused(t *testing.T) {
	statement := func(members string) json.RawMessage {
		return document(`{"Effect":"Allow","Action":"a:B","Resource":"*",` + members + `}`)
	}
	for _, tt := range []struct {
		policy json.RawMessage
		want   string
	}{
		{nil, "want a policy document in JSON"},
		{json.RawMessage(`{`), "want a policy document in JSON"},
		{json.RawMessage(`[]`), "want a policy document in JSON"},
		{json.RawMessage(`{"Statement":[]}`), "Version"},
		{json.RawMessage(`{"Version":"2008-10-17","Statement":[]}`), `Version "2008-10-17"`},
		{json.RawMessage(`{"Version":"2012-10-17"}`), "Statement: want at least one"},
		{json.RawMessage(`{"Version":"2012-10-17","Statement":null}`), "Statement: want at least one"},
		{document(), "Statement: want at least one"},
		{json.RawMessage(`{"Version":"2012-10-17","Version":"2012-10-17","Statement":[]}`), "Version occurs twice"},
		{json.RawMessage(`{"Version":"2012-10-17","Statements":[]}`), "does not implement member Statements"},
		{document(`"x"`), "policy 1 statement 1: want an object"},
		{document(`{"Sid":"A","Effect":"Allow","Action":"a:B","Resource":"*"}`, `{"Sid":"A","Effect":"Allow","Action":"a:B","Resource":"*"}`), "Sid A occurs twice"},
		{statement(`"Sid":"a b"`), `Sid "a b"`},
		{statement(`"NotAction":"x:Y"`), "does not implement member NotAction"},
		{statement(`"NotResource":"*"`), "does not implement member NotResource"},
		{statement(`"Principal":{"Service":"lambda.amazonaws.com"}`), "Principal"},
		{document(`{"Action":"a:B","Resource":"*"}`), `Effect ""`},
		{document(`{"Effect":"allow","Action":"a:B","Resource":"*"}`), `Effect "allow"`},
		{document(`{"Effect":"Allow","Resource":"*"}`), "Action: want at least one"},
		{document(`{"Effect":"Allow","Action":[],"Resource":"*"}`), "Action: want at least one"},
		{document(`{"Effect":"Allow","Action":null,"Resource":"*"}`), "Action: want"},
		{document(`{"Effect":"Allow","Action":7,"Resource":"*"}`), "Action: want a string or a list of strings"},
		{document(`{"Effect":"Allow","Action":["a:B","GetParameter"],"Resource":"*"}`), `Action "GetParameter"`},
		{document(`{"Effect":"Allow","Action":"*:GetParameter","Resource":"*"}`), `Action "*:GetParameter"`},
		{document(`{"Sid":"A","Effect":"Allow","Action":"a:B"}`), "A: Resource: want at least one"},
		{document(`{"Effect":"Allow","Action":"a:B","Resource":[]}`), "Resource: want at least one"},
		{document(`{"Effect":"Allow","Action":"a:B","Resource":""}`), `Resource "" must be in ARN format`},
		{document(`{"Effect":"Allow","Action":"a:B","Resource":"/app/*"}`), `Resource "/app/*" must be in ARN format`},
		{document(`{"Effect":"Allow","Action":"a:B","Resource":"arn:aws:ssm:*"}`), `Resource "arn:aws:ssm:*" must be in ARN format`},
		{document(`{"Effect":"Allow","Action":"a:B","Resource":"arn:aws:ssm:::"}`), `must be in ARN format`},
		{document(`{"Effect":"Allow","Action":"a:B","Resource":"arn:aws:*:::x"}`), "the service must be named"},
		{document(`{"Effect":"Allow","Action":"a:B","Resource":"arn:*:ssm:::x"}`), "the partition and the service must be named"},
		{document(`{"Effect":"Allow","Action":"a:B","Resource":"arn:aws:ssm:::${aws:username}"}`), "policy variables"},
		{statement(`"Condition":null`), "Condition: want an object"},
		{statement(`"Condition":{"StringEquals":null}`), "Condition StringEquals: want an object"},
		{statement(`"Condition":{"NumericEquals":{"aws:SourceArn":"1"}}`), "condition operator NumericEquals"},
		{statement(`"Condition":{"ForAllValues:StringEquals":{"aws:SourceArn":"1"}}`), "condition operator ForAllValues:StringEquals"},
		{statement(`"Condition":{"NullIfExists":{"aws:SourceArn":"true"}}`), "condition operator NullIfExists"},
		{statement(`"Condition":{"NotBool":{"aws:SourceArn":"true"}}`), "condition operator NotBool"},
		{statement(`"Condition":{"StringEquals":{"aws:ResourceTag/stack":"x"}}`), "condition key aws:ResourceTag/stack"},
		{statement(`"Condition":{"StringEquals":{"aws:SourceArn":"a"},"StringEquals":{"aws:SourceArn":"b"}}`), "StringEquals occurs twice"},
		{statement(`"Condition":{"StringEquals":{"aws:SourceArn":[]}}`), "Condition StringEquals aws:SourceArn: want at least one"},
		{statement(`"Condition":{"StringEquals":{"aws:SourceArn":"${aws:x}"}}`), "policy variables"},
		{statement(`"Condition":{"Null":{"aws:SourceArn":"yes"}}`), "want true or false"},
		{statement(`"Sid":"` + strings.Repeat("a", maxPolicies) + `"`), "of which a role's inline policies may have 10240"},
	} {
		_, err := parsePolicies([]json.RawMessage{tt.policy})
		if got := fmt.Sprint(err); !strings.Contains(got, tt.want) {
			t.Errorf("%.200s: got %q, want %q in it", tt.policy, got, tt.want)
		}
	}
}

func TestParseTrust_refused(t *testing.T) {
	for _, tt := range []struct{ trust, want string }{
		{`"Action":"sts:AssumeRole"`, "Principal"},
		{`"Action":"sts:AssumeRole","Principal":"*"`, `Principal: want {"Service": …}`},
		{`"Action":"sts:AssumeRole","Principal":{"AWS":"000000000000"}`, "does not implement member AWS"},
		{`"Action":"sts:AssumeRole","Principal":{"Service":[]}`, "Principal: want at least one"},
		{`"Action":"sts:AssumeRole","Principal":{"Service":"lambda"}`, `Principal "lambda"`},
		{`"Action":"lambda:Invoke","Principal":{"Service":"lambda.amazonaws.com"}`, `Action "lambda:Invoke"`},
		{`"Action":"sts:AssumeRole","Principal":{"Service":"lambda.amazonaws.com"},"Resource":"*"`, "Resource: a trust policy"},
		{`"Sid":"` + strings.Repeat("a", maxTrust) + `","Action":"sts:AssumeRole","Principal":{"Service":"lambda.amazonaws.com"}`, "of which a trust policy may have 2048"},
	} {
		_, err := parseTrust(document(`{"Effect":"Allow",` + tt.trust + `}`))
		if got := fmt.Sprint(err); !strings.Contains(got, tt.want) {
			t.Errorf("%.100s: got %q, want %q in it", tt.trust, got, tt.want)
		}
	}
}

// A grant is needed if the answer depends on it.
func TestEvaluate_needed(t *testing.T) {
	for _, tt := range []struct {
		what   string
		policy json.RawMessage
		want   []string
	}{
		{"one way", document(`{"Sid":"A","Effect":"Allow","Action":["x:Y","x:Z"],"Resource":["*"]}`), []string{"A: action x:Y", "A: resource *"}},
		{"two actions", document(`{"Sid":"A","Effect":"Allow","Action":["x:Y","x:*"],"Resource":["*"]}`), []string{"A: resource *"}},
		{"two resources", document(`{"Effect":"Allow","Action":"x:Y","Resource":["*","arn:aws:x:::y"]}`), []string{"policy 1 statement 1: action x:Y"}},
		{"two statements", document(`{"Sid":"A","Effect":"Allow","Action":"x:Y","Resource":"*"}`, `{"Sid":"B","Effect":"Allow","Action":"x:Y","Resource":"*"}`), nil},
	} {
		statements, err := parsePolicies([]json.RawMessage{tt.policy})
		if err != nil {
			t.Fatal(err)
		}
		_, got := evaluate(statements, permission{action: "x:Y", resource: "arn:aws:x:::y"})
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %q, want %q", tt.what, got, tt.want)
		}
	}
}

// slowWildcard is wildcard as the rule reads.
func slowWildcard(p, s []rune) bool {
	if len(p) == 0 {
		return len(s) == 0
	}
	if p[0] == '*' {
		return slowWildcard(p[1:], s) || len(s) > 0 && slowWildcard(p, s[1:])
	}
	return len(s) > 0 && (p[0] == '?' || p[0] == s[0]) && slowWildcard(p[1:], s[1:])
}

func FuzzWildcard(f *testing.F) {
	for _, seed := range [][2]string{{"", ""}, {"*", ""}, {"?", ""}, {"a*b?c", "axxbyc"}, {"*a*a*", "aba"}, {"a*ab", "aab"}, {"*?", "é"}, {"**", "x"}, {"a?", "a*"}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if strings.Count(pattern, "*") > 4 || len(s) > 40 || !utf8.ValidString(pattern+s) {
			t.Skip()
		}
		if got, want := wildcard(pattern, s), slowWildcard([]rune(pattern), []rune(s)); got != want {
			t.Errorf("wildcard(%q, %q) = %v, want %v", pattern, s, got, want)
		}
	})
}
