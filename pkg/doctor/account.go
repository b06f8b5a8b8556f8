package doctor

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"agentcore-mcp-auth/pkg/credstore"
)

// regionForm is the form of region names.
// https://docs.aws.amazon.com/global-infrastructure/latest/regions/aws-regions.html
const regionForm = `[a-z]{2,4}(-[a-z]+)+-\d{1,2}`

var (
	regionName   = regexp.MustCompile(`^` + regionForm + `$`)
	regionInText = regexp.MustCompile(`\b` + regionForm + `\b`)
)

// IsRegion reports whether name has the form of a region. An SDK puts a region
// into a host name without checking it.
func IsRegion(name string) bool { return regionName.MatchString(name) }

// examineAccount checks the caller's credentials, the region and the stack.
func (e *exam) examineAccount(ctx context.Context) {
	e.step("aws.region", func() Check {
		region := e.cfg.AWS.Region
		if IsRegion(region) {
			return pass(region)
		}
		c := Check{
			Status: Fail, Expected: "the name of a region, such as eu-central-1", Found: fmt.Sprintf("%.40q", region),
			Cause: "the region is misspelt", Next: e.advice.mcpauth("doctor", "--region", "eu-central-1"),
		}
		if region == "" {
			c.Found, c.Cause = "none", "neither --region nor AWS_REGION is set, and the profile names none"
		}
		return c
	})
	e.step("aws.identity", func() Check { return e.identify(ctx) }, "aws.region")
	if e.cfg.Stack != "" {
		e.step("stack", func() Check { return e.readStack(ctx) }, "aws.identity")
	}
	if e.cfg.Prefix == "" {
		e.cfg.Prefix = credstore.DefaultPrefix
	}
}

func (e *exam) identify(ctx context.Context) Check {
	c := Check{Status: Fail, Expected: "AWS credentials that are valid in " + e.cfg.AWS.Region}
	login := e.advice.login()
	ctx, cancel := context.WithTimeout(ctx, e.patience())
	defer cancel()
	if e.cfg.AWS.Credentials == nil {
		c.Found, c.Cause, c.Next = "no credentials", "none are configured", login
		return c
	}
	if err := e.retrieve(ctx); err != nil {
		c.Found, c.Cause, c.Next = "no credentials: "+e.clean(err.Error()), "none are configured: no environment variables, no profile, no role", login
		if strings.Contains(err.Error(), "SSO") || strings.Contains(err.Error(), "expired") {
			c.Cause = "the session has ended"
		}
		return c
	}
	out, err := sts.NewFromConfig(e.cfg.AWS).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err == nil {
		e.identity, e.account = aws.ToString(out.Arn), aws.ToString(out.Account)
		return pass(e.identity + " in " + e.cfg.AWS.Region)
	}
	code, message := apiError(err)
	c.Found = "GetCallerIdentity: " + e.refusal(err)
	switch code {
	case "":
		c.Found, c.Cause = e.network(err)
		c.Next = e.advice.aws("", "sts", "get-caller-identity")
		if errors.As(err, new(*net.DNSError)) {
			c.Cause = "there is no region of that name, or no name server or proxy can be reached"
		} else if at := aws.ToString(e.cfg.AWS.BaseEndpoint); at != "" && errors.Is(err, syscall.ECONNREFUSED) {
			c.Cause, c.Next = "nothing listens at "+clean(at)+", the address in AWS_ENDPOINT_URL", "mcpauth local"
		}
	case "ExpiredToken", "ExpiredTokenException", "RequestExpired":
		c.Cause, c.Next = "the temporary credentials have expired", login
	case "SignatureDoesNotMatch", "InvalidSignatureException":
		c.Cause, c.Next = "the secret access key does not belong to the access key, or this machine's clock is off", "date -u"
		if strings.Contains(message, "region") {
			c.Cause, c.Next = "the endpoint serves another region", e.advice.mcpauth("doctor", "--region", regionIn(message))
		}
	default:
		c.Cause, c.Next = "the access key is unknown, inactive, or of an account that has not enabled the region", login
	}
	return c
}

// retrieve gets the credentials once. An EC2 instance gives its credentials
// within milliseconds. Where there is no instance, the SDK would keep asking.
func (e *exam) retrieve(ctx context.Context) error {
	if aws.IsCredentialsProvider(e.cfg.AWS.Credentials, (*ec2rolecreds.Provider)(nil)) {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Second)
		defer cancel()
	}
	_, err := e.cfg.AWS.Credentials.Retrieve(ctx)
	return err
}

// regionIn returns the first region that a text names.
func regionIn(text string) string {
	return cmp.Or(regionInText.FindString(text), "REGION")
}

// Stack is CloudFormation's description of a stack.
type Stack struct {
	Status, Reason      string
	Parameters, Outputs map[string]string
}

// DescribeStack asks CloudFormation for a stack. For a missing stack the error
// is a ValidationError.
func DescribeStack(ctx context.Context, cfg aws.Config, name string) (Stack, error) {
	out, err := cloudformation.NewFromConfig(cfg).DescribeStacks(ctx, &cloudformation.DescribeStacksInput{StackName: &name})
	if err == nil && len(out.Stacks) != 1 {
		err = fmt.Errorf("%d stacks in the answer", len(out.Stacks))
	}
	if err != nil {
		return Stack{}, err
	}
	got := out.Stacks[0]
	st := Stack{string(got.StackStatus), aws.ToString(got.StackStatusReason), map[string]string{}, map[string]string{}}
	for _, p := range got.Parameters {
		st.Parameters[aws.ToString(p.ParameterKey)] = aws.ToString(p.ParameterValue)
	}
	for _, o := range got.Outputs {
		st.Outputs[aws.ToString(o.OutputKey)] = aws.ToString(o.OutputValue)
	}
	return st, nil
}

// readStack reads the stack, and takes the settings from it that were not given.
func (e *exam) readStack(ctx context.Context) Check {
	c := Check{Status: Fail, Expected: "a stack " + e.cfg.Stack + " that is deployed"}
	ctx, cancel := context.WithTimeout(ctx, e.patience())
	defer cancel()
	st, err := DescribeStack(ctx, e.cfg.AWS, e.cfg.Stack)
	if code, message := apiError(err); code == "ValidationError" && strings.Contains(message, "does not exist") {
		c.Found, c.Cause = "no stack of that name in "+e.cfg.AWS.Region, "the name is misspelt, or the stack is in another region or account"
		c.Next = e.advice.aws("", "cloudformation", "list-stacks", "--query", "StackSummaries[?StackStatus!='DELETE_COMPLETE'].StackName")
		return c
	}
	if err != nil {
		return e.unreadable(c, err, "cloudformation:DescribeStacks", fmt.Sprintf("arn:aws:cloudformation:%s:%s:stack/%s/*", e.cfg.AWS.Region, e.account, e.cfg.Stack))
	}
	e.stack = &st
	if e.cfg.Name == "" {
		e.cfg.Name = st.Parameters["McpName"]
		e.advice.name = e.cfg.Name
	}
	if prefix := st.Parameters["ParameterPrefix"]; e.cfg.Prefix == "" && prefix != "" {
		e.cfg.Prefix = prefix
		if prefix != credstore.DefaultPrefix {
			e.advice.flags = append(slices.Clone(e.advice.flags), "--parameter-prefix", prefix)
		}
	}
	c.Found = st.Status
	events := []string{"cloudformation", "describe-stack-events", "--stack-name", e.cfg.Stack}
	switch status := st.Status; {
	case e.cfg.Name == "" && strings.HasSuffix(status, "_IN_PROGRESS"): // a stack has no parameters before its change set is executed
		c.Cause, c.Next = "its first deployment is under way, or waits for somebody to confirm the change set", e.advice.aws("", append(events, "--max-items", "20")...)
	case credstore.CheckName(e.cfg.Name) != nil:
		c.Expected, c.Found = "a parameter McpName, as this project's template has", "none"
		c.Cause, c.Next = "the stack is of another template", e.advice.mcpauth("doctor")
	case strings.HasSuffix(status, "_IN_PROGRESS"):
		c.Status, c.Cause, c.Next = Warn, "it is being deployed at the moment", e.advice.aws("", append(events, "--max-items", "20")...)
	case strings.HasSuffix(status, "_FAILED"), status == "ROLLBACK_COMPLETE", strings.HasPrefix(status, "DELETE_"):
		if st.Reason != "" {
			c.Found += ": " + e.clean(st.Reason)
		}
		c.Cause = "the last deployment failed, or the stack was deleted"
		c.Next = e.advice.aws("", append(events, "--query", "StackEvents[?contains(ResourceStatus,'FAILED')].[LogicalResourceId,ResourceStatusReason]", "--output", "table")...)
	default:
		return pass(fmt.Sprintf("%s, server %s", status, e.cfg.Name))
	}
	return c
}

// unreadable explains a request to AWS that got no useful answer. A missing
// permission of the caller is only a warning: an agent does not need it.
func (e *exam) unreadable(c Check, err error, action, resource string) Check {
	c.Status = Warn
	c.Found = e.refusal(err)
	switch code, message := apiError(err); {
	case isDenied(code):
		c.Cause = denial(message, "you may not "+action)
		c.Next = e.allow(action, resource)
	case isThrottle(code):
		c.Cause, c.Next = "too many requests at the moment", e.advice.doctor()
	case code == "":
		c.Found, c.Cause = e.network(err)
		c.Next = e.advice.doctor()
	default:
		c.Cause, c.Next = "AWS refuses the request", e.advice.doctor()
	}
	return c
}

// allow returns a command that gives the caller a permission. If the caller
// cannot have a policy, the command shows who refuses it.
func (e *exam) allow(action, resource string) string { return allow(e.identity, action, resource) }

var (
	roleSession = regexp.MustCompile(`^arn:[a-z-]+:sts::\d+:assumed-role/([^/]+)/`)
	iamUser     = regexp.MustCompile(`^arn:[a-z-]+:iam::\d+:user/(?:.*/)?([^/]+)$`)
)

func allow(identity, action, resource string) string {
	type statement struct{ Effect, Action, Resource string }
	policy, err := json.Marshal(struct {
		Version   string
		Statement []statement
	}{"2012-10-17", []statement{{"Allow", action, resource}}})
	if err != nil {
		panic(err) // strings always encode
	}
	put := func(verb, flag, name string) string {
		return Shell("aws", "iam", verb, flag, name, "--policy-name", "mcpauth-doctor", "--policy-document", string(policy))
	}
	if m := roleSession.FindStringSubmatch(identity); m != nil {
		return put("put-role-policy", "--role-name", m[1])
	}
	if m := iamUser.FindStringSubmatch(identity); m != nil {
		return put("put-user-policy", "--user-name", m[1])
	}
	return "aws organizations list-policies --filter SERVICE_CONTROL_POLICY" // a root user has no policy of its own
}

// denial returns the reason that IAM gives for a refusal, or otherwise.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
func denial(message, otherwise string) string {
	for _, m := range []struct{ in, out string }{
		{"with an explicit deny in a service control policy", "the organization's service control policy denies it"},
		{"with an explicit deny", "a policy denies it explicitly"},
		{"no service control policy allows", "no service control policy of the organization allows it"},
		{"no permissions boundary allows", "the permissions boundary does not allow it"},
		{"no resource-based policy allows", "the resource's own policy does not allow it"},
		{"no VPC endpoint policy allows", "the VPC endpoint's policy does not allow it"},
		{"no identity-based policy allows", "no policy of the caller allows it"},
	} {
		if strings.Contains(message, m.in) {
			return m.out
		}
	}
	return otherwise
}

func isDenied(code string) bool {
	switch code {
	case "AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "NotAuthorizedException", "AuthorizationError":
		return true
	}
	return false
}

func isThrottle(code string) bool {
	switch code {
	case "Throttling", "ThrottlingException", "ThrottledException", "TooManyRequestsException", "RequestLimitExceeded", "RequestThrottled":
		return true
	}
	return false
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &t) && t.Timeout()
}
