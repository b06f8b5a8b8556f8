package localaws

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// condition is one key of a Condition element. All conditions of a statement
// must hold. A condition holds if one of its values matches.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-logic-multiple-context-keys-or-values.html
type condition struct {
	operator
	ifExists bool
	key      string // in lower case: the case of keys does not matter
	values   []string
}

type operator struct {
	match   func(pattern, value string) bool
	negated bool
}

// operators are the condition operators that are implemented, except Null.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
var operators = map[string]operator{
	"StringEquals":    {match: equal},
	"StringNotEquals": {match: equal, negated: true},
	"StringLike":      {match: wildcard},
	"StringNotLike":   {match: wildcard, negated: true},
	"ArnEquals":       {match: arnLike}, // the same as ArnLike
	"ArnLike":         {match: arnLike},
	"ArnNotEquals":    {match: arnLike, negated: true},
	"ArnNotLike":      {match: arnLike, negated: true},
	"Bool":            {match: strings.EqualFold},
}

// conditionKeys are the keys that requests have here. Any other key is refused,
// because a statement with it would mean something else than in an account.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html
// https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
var conditionKeys = []string{
	"aws:PrincipalAccount", "aws:PrincipalArn", "aws:RequestedRegion",
	"aws:SourceAccount", "aws:SourceArn", // when a service assumes a role
	"bedrock:InferenceProfileArn",
	"lambda:FunctionUrlAuthType", "lambda:InvokedViaFunctionUrl",
	"kms:CallerAccount", "kms:EncryptionContext:PARAMETER_ARN", "kms:ViaService",
	"cloudwatch:namespace", // CloudWatch is not implemented: no request needs its statements
}

func equal(a, b string) bool { return a == b }

// holds reports whether a request meets the condition. A key that the request
// does not have meets the negated operators, those with IfExists, and no other.
func (c condition) holds(context map[string]string) bool {
	value, present := context[c.key]
	switch {
	case c.match == nil: // Null
		return present == (c.values[0] == "false")
	case !present:
		return c.negated || c.ifExists
	}
	return slices.ContainsFunc(c.values, func(pattern string) bool { return c.match(pattern, value) }) != c.negated
}

// parseConditions reads a Condition element, which may be absent.
func parseConditions(raw json.RawMessage) (all []condition, err error) {
	if raw == nil {
		return nil, nil
	}
	if raw[0] != '{' {
		return nil, errors.New("Condition: want an object of operators")
	}
	refusal := eachMember(raw, func(name string, keys json.RawMessage) *apiError {
		base, ifExists := strings.CutSuffix(name, "IfExists")
		op, known := operators[base]
		if !known && name != "Null" {
			return unimplemented("condition operator %.80s", name)
		}
		if keys[0] != '{' {
			return errorf("", "Condition %s: want an object of condition keys", name)
		}
		return eachMember(keys, func(key string, raw json.RawMessage) *apiError {
			c := condition{operator: op, ifExists: ifExists, key: strings.ToLower(key)}
			if !slices.ContainsFunc(conditionKeys, func(k string) bool { return strings.EqualFold(k, key) }) {
				return unimplemented("condition key %.80s", key)
			}
			var err error
			if c.values, err = conditionValues("Condition "+name+" "+key, raw); err != nil {
				return errorf("", "%v", err)
			}
			if name == "Null" || base == "Bool" {
				if len(c.values) != 1 || c.values[0] != "true" && c.values[0] != "false" {
					return errorf("", "Condition %s %s: want true or false", name, key)
				}
			}
			all = append(all, c)
			return nil
		})
	})
	if refusal != nil {
		return nil, errors.New(refusal.Message)
	}
	return all, nil
}

// conditionValues reads a string, true, false, or a list of strings.
func conditionValues(element string, raw json.RawMessage) ([]string, error) {
	if text := string(raw); text == "true" || text == "false" {
		return []string{text}, nil
	}
	values, err := oneOrMany(element, raw)
	for _, v := range values {
		if strings.Contains(v, "${") {
			return nil, fmt.Errorf("%s: %.80q: localaws does not implement policy variables", element, v)
		}
	}
	return values, err
}

// wildcard reports whether s matches pattern, in which * stands for any
// characters, or none, and ? for any single one.
func wildcard(pattern, s string) bool {
	p, t := []rune(pattern), []rune(s)
	star, mark := -1, 0 // the last * in p, and where in t its run ends
	i, j := 0, 0
	for j < len(t) {
		switch {
		case i < len(p) && p[i] == '*':
			star, mark = i, j
			i++
		case i < len(p) && (p[i] == '?' || p[i] == t[j]):
			i++
			j++
		case star >= 0: // let the run take one more
			mark++
			i, j = star+1, mark
		default:
			return false
		}
	}
	for i < len(p) && p[i] == '*' {
		i++
	}
	return i == len(p)
}

// arnLike matches the six segments of ARNs one by one, so that no wildcard
// reaches into another segment; the last one has all further colons in it.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html#Conditions_ARN
func arnLike(pattern, arn string) bool {
	p, a := strings.SplitN(pattern, ":", 6), strings.SplitN(arn, ":", 6)
	return len(p) == 6 && len(a) == 6 && slices.EqualFunc(p, a, wildcard)
}
