// Package credstore keeps one MCP server's machine credentials in AWS Systems
// Manager Parameter Store, under {prefix}/{name}/.
//
// The parameters have the names that the guides for AgentCore use, so this package
// and other tools can read what either wrote. The client secret and a password are
// SecureStrings; everything else is plain.
//
// A long-lived process reads through [Store.Set], one for each server, which
// caches what it has read. A program that writes uses [Store.Read] and
// [Store.Write]. All of it is safe for concurrent use.
//
// Errors name the parameters they are about. Test for [ErrNotFound] and [ErrHeld]
// with errors.Is, and for a [*MissingError] or an error of Parameter Store's own
// with errors.As.
//
// Runnable examples are in example_test.go; they need no AWS account.
//
// https://docs.aws.amazon.com/systems-manager/latest/userguide/systems-manager-parameter-store.html
package credstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
)

// DefaultPrefix is the path under which server names live unless told
// otherwise.
const DefaultPrefix = "/app/mcp"

// The parameters of one server, below {prefix}/{name}/.
const (
	ClientID     = "machine_client_id"
	ClientSecret = "cognito_secret" // SecureString
	DiscoveryURL = "cognito_discovery_url"
	Domain       = "cognito_domain"
	UserPoolID   = "userpool_id"
	Scope        = "scope"
	Endpoint     = "endpoint"

	UserClientID = "user_client_id" // development only, as the two below
	Username     = "username"
	Password     = "password" // SecureString

	// HeldUntil is there while a set is being replaced; see [Store.Hold].
	HeldUntil = "held_until"
)

// Credentials is what is known of one MCP server. Fields whose parameter does
// not exist are empty.
type Credentials struct {
	ClientID     string
	ClientSecret Secret
	DiscoveryURL string
	Domain       string // https URL of the user pool's domain
	UserPoolID   string
	Scope        string // what to ask for, space separated
	Endpoint     string // runtime ARN, or URL of any MCP server

	UserClientID string
	Username     string
	Password     Secret

	// SecretRevision is Parameter Store's version number of ClientSecret, and
	// SecretSince when that was written. They are read, never written, as
	// HeldUntil is.
	SecretRevision int64
	SecretSince    time.Time
	HeldUntil      time.Time // zero: not held
}

// field is one parameter of a set: its name and its place in Credentials, of
// which exactly one is set.
type field struct {
	name   string
	plain  *string
	secret *Secret
}

// fields lists the parameters in the order in which they are written: the
// secret first and the client id last, so that a reader who finds a new set's
// client id finds its secret too.
func (c *Credentials) fields() []field {
	return []field{
		{ClientSecret, nil, &c.ClientSecret},
		{DiscoveryURL, &c.DiscoveryURL, nil},
		{Domain, &c.Domain, nil},
		{UserPoolID, &c.UserPoolID, nil},
		{Scope, &c.Scope, nil},
		{Endpoint, &c.Endpoint, nil},
		{Password, nil, &c.Password},
		{Username, &c.Username, nil},
		{UserClientID, &c.UserClientID, nil},
		{ClientID, &c.ClientID, nil},
	}
}

func (f field) value() string {
	if f.secret != nil {
		return f.secret.Reveal()
	}
	return *f.plain
}

func (f field) set(v string) {
	if f.secret != nil {
		*f.secret = NewSecret(v)
		return
	}
	*f.plain = v
}

// API is what a Store asks of Parameter Store; *ssm.Client has it.
type API interface {
	GetParametersByPath(context.Context, *ssm.GetParametersByPathInput, ...func(*ssm.Options)) (*ssm.GetParametersByPathOutput, error)
	PutParameter(context.Context, *ssm.PutParameterInput, ...func(*ssm.Options)) (*ssm.PutParameterOutput, error)
	DeleteParameters(context.Context, *ssm.DeleteParametersInput, ...func(*ssm.Options)) (*ssm.DeleteParametersOutput, error)
}

// ErrNotFound says that no parameter exists under a server's path.
var ErrNotFound = errors.New("no parameters found")

// ErrHeld says that a set is being replaced by another. It passes soon.
var ErrHeld = errors.New("the credentials are being replaced, try again")

// MissingError names the parameters that a set lacks for the use asked of it.
type MissingError struct{ Names []string }

func (e *MissingError) Error() string {
	return "missing parameter " + strings.Join(e.Names, ", ")
}

// Store reads and writes sets of credentials. It holds no state of its own and
// is safe for concurrent use.
type Store struct {
	API      API
	Prefix   string // default DefaultPrefix
	KMSKeyID string // key for SecureStrings; empty: the account's aws/ssm key

	// Tags are put on every parameter that Write creates. Parameter Store takes
	// them only in the request that creates a parameter.
	Tags map[string]string

	// Sealed makes Snapshot leave the secrets encrypted. That is enough to see
	// what exists, and works even when the key is gone.
	Sealed bool

	// Wait pauses between two reads of a set that is held. The default waits
	// for d, or until ctx ends and then returns its error.
	Wait func(ctx context.Context, d time.Duration) error
}

// validName is a server name: one path element of Parameter Store, and a legal
// identifier of a resource server in Cognito.
// https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_PutParameter.html
var validName = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9_-]{0,63}$`)

var validPrefix = regexp.MustCompile(`^(/[a-zA-Z0-9_.-]+){1,10}$`)

// maxPrefix leaves room for the rest in the 1,011 characters that the ARN of a
// parameter may have, and in the 1,024 of a physical id of CloudFormation.
const maxPrefix = 800

// CheckName refuses a server name that cannot be one element of a parameter
// path: it has 1 to 64 letters, digits, underscores and hyphens, and does not
// start with a hyphen.
func CheckName(name string) error {
	if !validName.MatchString(name) {
		return fmt.Errorf("server name %.80q: want 1 to 64 letters, digits, underscores or hyphens, not starting with a hyphen", name)
	}
	return nil
}

// CheckPrefix refuses a parameter prefix that Parameter Store would refuse, or
// that is not written as [DefaultPrefix] is: a slash before each element.
func CheckPrefix(prefix string) error {
	first, _, _ := strings.Cut(strings.TrimPrefix(strings.ToLower(prefix), "/"), "/")
	if len(prefix) > maxPrefix || !validPrefix.MatchString(prefix) || strings.HasPrefix(first, "aws") || strings.HasPrefix(first, "ssm") {
		return fmt.Errorf("parameter prefix %.80q: want a path such as %s, not starting with aws or ssm and without a trailing slash", prefix, DefaultPrefix)
	}
	return nil
}

func (s *Store) prefix() string { return cmp.Or(s.Prefix, DefaultPrefix) }

// check refuses a name or a prefix that cannot be part of a path.
func (s *Store) check(name string) error {
	return errors.Join(CheckPrefix(s.prefix()), CheckName(name))
}

// Path is where the server's parameters are, with a trailing slash.
func (s *Store) Path(name string) string { return s.prefix() + "/" + name + "/" }

// Read returns what exists of the server's set, in one request (and one more
// per further page, of which a complete set has none). It answers [ErrNotFound]
// when there is nothing at all. Parameters of other names are ignored. A set
// that is held is read again for three seconds, after which the answer is
// [ErrHeld].
func (s *Store) Read(ctx context.Context, name string) (Credentials, error) {
	for pause := 200 * time.Millisecond; ; pause *= 2 {
		c, err := s.Snapshot(ctx, name)
		if err != nil || !time.Now().Before(c.HeldUntil) {
			return c, err
		}
		if pause > 2*time.Second {
			return Credentials{}, fmt.Errorf("reading parameters under %s: %w", s.Path(name), ErrHeld)
		}
		if err := s.wait(ctx, pause); err != nil {
			return Credentials{}, fmt.Errorf("reading parameters under %s: %w: %w", s.Path(name), ErrHeld, err)
		}
	}
}

func (s *Store) wait(ctx context.Context, d time.Duration) error {
	if s.Wait != nil {
		return s.Wait(ctx, d)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// Snapshot is Read for those who write the set: what exists at the moment,
// whether it is held or not.
func (s *Store) Snapshot(ctx context.Context, name string) (Credentials, error) {
	var c Credentials
	if err := s.check(name); err != nil {
		return c, err
	}
	fields := c.fields()
	path, found := s.Path(name), false
	pages := ssm.NewGetParametersByPathPaginator(s.API, &ssm.GetParametersByPathInput{
		Path:           aws.String(path),
		WithDecryption: aws.Bool(!s.Sealed),
		MaxResults:     aws.Int32(10), // the most the API allows
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return Credentials{}, fmt.Errorf("reading parameters under %s: %w", path, err)
		}
		for _, p := range page.Parameters {
			base := strings.TrimPrefix(aws.ToString(p.Name), path)
			if base == HeldUntil {
				c.HeldUntil, _ = time.Parse(time.RFC3339, aws.ToString(p.Value)) // a value that is no time holds nobody
			}
			if i := slices.IndexFunc(fields, func(f field) bool { return f.name == base }); i >= 0 {
				fields[i].set(aws.ToString(p.Value))
				found = true
				if base == ClientSecret {
					c.SecretRevision, c.SecretSince = p.Version, aws.ToTime(p.LastModifiedDate)
				}
			}
		}
	}
	if !found {
		return Credentials{}, fmt.Errorf("reading parameters under %s: %w", path, ErrNotFound)
	}
	return c, nil
}

// Machine returns a [*MissingError] unless c has all that the
// client-credentials grant needs.
func (c Credentials) Machine() error { return c.Require(ClientID, ClientSecret, DiscoveryURL) }

// Require returns a [*MissingError] unless c has all of the named parameters.
func (c Credentials) Require(names ...string) error {
	var missing []string
	for _, f := range c.fields() {
		if f.value() == "" && slices.Contains(names, f.name) {
			missing = append(missing, f.name)
		}
	}
	if missing == nil {
		return nil
	}
	slices.Sort(missing)
	return &MissingError{Names: missing}
}

// Differences names the parameters that Write would write to bring old to c,
// in the order in which it writes them.
func (c Credentials) Differences(old Credentials) []string {
	var names []string
	was := old.fields()
	for i, f := range c.fields() {
		if f.value() != "" && f.value() != was[i].value() {
			names = append(names, f.name)
		}
	}
	return names
}

// Write brings the stored set to c: parameters that differ from old are
// written, the client id last. Fields that are empty in c are left as they are.
// old is what [Store.Read] returned, or the zero Credentials for a set that
// does not exist. A parameter that old lacks is created, never overwritten: of
// two concurrent writers of a new set one gets [types.ParameterAlreadyExists].
// One that old has and that was deleted since stays deleted: [ErrNotFound].
func (s *Store) Write(ctx context.Context, name string, old, c Credentials) error {
	if err := s.check(name); err != nil {
		return err
	}
	was := old.fields()
	for i, f := range c.fields() {
		if f.value() == "" || f.value() == was[i].value() {
			continue
		}
		if err := s.put(ctx, s.Path(name)+f.name, f, was[i].value() != ""); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) put(ctx context.Context, name string, f field, overwrite bool) error {
	in := &ssm.PutParameterInput{
		Name:      aws.String(name),
		Value:     aws.String(f.value()),
		Type:      types.ParameterTypeString,
		Overwrite: aws.Bool(overwrite),
	}
	if f.secret != nil {
		in.Type = types.ParameterTypeSecureString
		if s.KMSKeyID != "" {
			in.KeyId = aws.String(s.KMSKeyID)
		}
	}
	if !overwrite {
		for _, key := range slices.Sorted(maps.Keys(s.Tags)) {
			in.Tags = append(in.Tags, types.Tag{Key: aws.String(key), Value: aws.String(s.Tags[key])})
		}
	}
	out, err := s.API.PutParameter(ctx, in)
	if err != nil && f.secret != nil {
		err = &maskedError{err, *f.secret} // a service may quote the value it refuses
	}
	if err == nil && overwrite && out.Version == 1 { // the write made a new parameter, without an owner's tags
		_, err = s.API.DeleteParameters(ctx, &ssm.DeleteParametersInput{Names: []string{name}})
		err = errors.Join(fmt.Errorf("it was deleted meanwhile: %w", ErrNotFound), err)
	}
	if err != nil {
		return fmt.Errorf("writing parameter %s: %w", name, err)
	}
	return nil
}

// Hold has readers wait for [Store.Release]. A set whose client changes cannot
// be written in one request, so a reader in between would have the secret of one
// client with the id of another. If the writer dies, readers wait until the given
// time and no longer.
func (s *Store) Hold(ctx context.Context, name string, until time.Time) error {
	if err := s.check(name); err != nil {
		return err
	}
	_, err := s.API.PutParameter(ctx, &ssm.PutParameterInput{
		Name: aws.String(s.Path(name) + HeldUntil), Value: aws.String(until.UTC().Format(time.RFC3339)),
		Type: types.ParameterTypeString, Overwrite: aws.Bool(true),
	})
	if err != nil {
		return fmt.Errorf("writing parameter %s: %w", s.Path(name)+HeldUntil, err)
	}
	return nil
}

// Release lets readers have the set again.
func (s *Store) Release(ctx context.Context, name string) error {
	return s.Delete(ctx, name, HeldUntil)
}

// Delete removes the named parameters of a server's set, or every one that
// provisioning makes when none is named. Parameters that do not exist are no
// error.
func (s *Store) Delete(ctx context.Context, name string, parameters ...string) error {
	if err := s.check(name); err != nil {
		return err
	}
	if len(parameters) == 0 {
		parameters = append(parameters, HeldUntil) // ten with the others, the most that a request takes
		for _, f := range new(Credentials).fields() {
			if f.name != Endpoint { // the endpoint belongs to whoever deployed the server
				parameters = append(parameters, f.name)
			}
		}
	}
	names := make([]string, len(parameters))
	for i, p := range parameters {
		names[i] = s.Path(name) + p
	}
	if _, err := s.API.DeleteParameters(ctx, &ssm.DeleteParametersInput{Names: names}); err != nil {
		return fmt.Errorf("deleting parameters under %s: %w", s.Path(name), err)
	}
	return nil
}
