package provision

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"agentcore-mcp-auth/pkg/credstore"
)

// Desired is the desired state of one MCP server's credentials.
type Desired struct {
	Name               string   // server name; also the resource server's identifier
	UserPoolID         string   // user pool to use; empty: a pool made here, which the owner's servers share
	DomainPrefix       string   // prefix of the pool's domain; empty: the one it has, or a derived one
	Scopes             []string // scope names; default invoke
	AccessTokenMinutes int32    // lifetime of access tokens; default 60
	KMSKeyID           string   // key for the secret; empty: the account's aws/ssm key
	SecretVersion      string   // a value other than the last one rotates the secret; empty: leave it
	RetainOnDelete     bool     // Remove only gives up the ownership
	Adopt              bool     // take over a set without an owner

	// former is the server's label from before the same resource's prefix
	// changed. In the same pool, both prefixes have the same resource server.
	former string
}

// What the services accept. Other values are refused by name before any call.
var (
	// https://docs.aws.amazon.com/cognito-user-identity-pools/latest/APIReference/API_CreateUserPoolDomain.html
	validDomain = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	// https://docs.aws.amazon.com/cognito-user-identity-pools/latest/APIReference/API_DescribeUserPool.html
	validPool = regexp.MustCompile(`^([a-z0-9-]{1,32})_[0-9a-zA-Z]{1,22}$`)
	// Stricter than Cognito, which allows nearly all of ASCII except spaces,
	// quotes, backslashes and slashes.
	validScope = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$`)
	// https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_PutParameter.html
	validKey = regexp.MustCompile(`^[a-zA-Z0-9:/_-]{1,256}$`)
	// The characters of a tag's value, because a tag records the version applied
	// last.
	validVersion = regexp.MustCompile(`^[A-Za-z0-9 ._:/=+@-]{1,128}$`)
)

// maxScopes is Cognito's quota of scopes per app client.
// https://docs.aws.amazon.com/cognito/latest/developerguide/quotas.html
const maxScopes = 50

// check refuses by name what cannot be done. It makes no call.
func (p *Provisioner) check(d Desired) error {
	errs := []error{credstore.CheckName(d.Name), credstore.CheckPrefix(p.prefix())}
	refuse := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if d.UserPoolID != "" {
		if m := validPool.FindStringSubmatch(d.UserPoolID); m == nil {
			refuse("UserPoolId %.80q: want an id such as %s_AbCdEf123", d.UserPoolID, p.Region)
		} else if p.Region != "" && m[1] != p.Region {
			refuse("UserPoolId %.80q: the pool must be in this region, %s", d.UserPoolID, p.Region)
		}
	}
	if d.DomainPrefix != "" {
		if !validDomain.MatchString(d.DomainPrefix) {
			refuse("DomainPrefix %.80q: want 1 to 63 lower-case letters, digits and hyphens, no hyphen at either end", d.DomainPrefix)
		}
		for _, barred := range []string{"aws", "amazon", "cognito"} {
			if strings.Contains(d.DomainPrefix, barred) {
				refuse("DomainPrefix %.80q: Cognito allows no prefix that contains %q", d.DomainPrefix, barred)
			}
		}
	}
	if d.Scopes != nil && len(d.Scopes) == 0 || len(d.Scopes) > maxScopes {
		refuse("Scopes: want 1 to %d names, got %d", maxScopes, len(d.Scopes))
	}
	seen := map[string]bool{}
	for _, s := range d.Scopes {
		if !validScope.MatchString(s) {
			refuse("Scopes: %.80q: want letters, digits, dots, underscores, colons and hyphens, without the server's name", s)
		}
		if seen[s] {
			refuse("Scopes: %.80q is there twice", s)
		}
		seen[s] = true
	}
	// https://docs.aws.amazon.com/cognito/latest/developerguide/amazon-cognito-user-pools-using-the-access-token.html
	if m := d.AccessTokenMinutes; m != 0 && (m < 5 || m > 24*60) {
		refuse("AccessTokenMinutes %d: want 5 to 1440", m)
	}
	if d.KMSKeyID != "" && !validKey.MatchString(d.KMSKeyID) {
		refuse("KmsKeyId %.80q: want a key id, an ARN or an alias", d.KMSKeyID)
	}
	if d.SecretVersion != "" && !validVersion.MatchString(d.SecretVersion) {
		refuse("SecretVersion %.80q: want 1 to 128 letters, digits, spaces or any of . _ : / = + @ -", d.SecretVersion)
	}
	return errors.Join(errs...)
}
