package provision

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider/types"

	"agentcore-mcp-auth/pkg/credstore"
)

// EnsureUser sets up user authentication for development. It makes a public app
// client that signs in by name and password in the server's user pool, and a
// user with a generated password, which is one of the server's parameters.
// Anyone who can read them can act as that user, so it is for testing only.
// [Provisioner.Remove] removes it with the server.
//
// It uses these fields of d: the name, the lifetime of access tokens, Adopt, the
// key for a password that is not written yet (default: the client secret's),
// and, for a server without a user pool, the settings of the pool to use or
// make. The rules of ownership are those of the machine client.
//
// The user's status shows how far an earlier run came: the user has a permanent
// password only if it is the one in the parameter. A password that is missing
// from Parameter Store is replaced.
func (p *Provisioner) EnsureUser(ctx context.Context, d Desired) (Result, error) {
	if err := p.check(d); err != nil {
		return Result{}, err
	}
	look := p.newRun(d, true)
	res, settled, err := look.ensureUser(ctx)
	if res.Changes = look.changes; err != nil || len(res.Changes) == 0 {
		return res, err
	}
	// Nothing decides between two runs about clients, users and passwords, so
	// they need locks. The pool's lock comes first, as everywhere.
	locks := []string{d.Name}
	if !settled {
		locks = []string{p.poolLock(), d.Name}
	}
	for _, key := range locks {
		unlock, err := p.lock(ctx, key)
		if err != nil {
			return Result{}, err
		}
		defer unlock()
	}
	r := p.newRun(d, false)
	for attempt := 0; ; attempt++ {
		res, _, err = r.ensureUser(ctx)
		res.Changes = r.changes
		if !isAgain(err) || attempt == 3 { // a write whose answer was lost gives this error too
			return res, err
		}
	}
}

// PlanUser returns what EnsureUser would do. It writes nothing.
func (p *Provisioner) PlanUser(ctx context.Context, d Desired) (Result, error) {
	if err := p.check(d); err != nil {
		return Result{}, err
	}
	r := p.newRun(d, true)
	res, _, err := r.ensureUser(ctx)
	res.Changes = r.changes
	return res, err
}

// ensureUser also reports whether the server's user pool is settled: then this
// run neither makes a pool nor chooses one that others may remove.
func (r *run) ensureUser(ctx context.Context) (res Result, settled bool, err error) {
	set, err := r.read(ctx)
	if err != nil {
		return res, false, err
	}
	if err := r.admit(set); err != nil {
		return res, false, err
	}
	settled = r.d.UserPoolID != "" || set.UserPoolID != ""
	found := set // ensurePassword changes set
	r.d.KMSKeyID = cmp.Or(r.d.KMSKeyID, set.tags[tagKey])
	pool, err := r.userPool(ctx, set)
	if err != nil {
		return res, settled, err
	}
	client, err := r.ensureUserClient(ctx, pool, set)
	if err != nil {
		return res, settled, err
	}
	want := credstore.Credentials{
		DiscoveryURL: r.issuer(aws.ToString(pool.Id)) + openidConfiguration,
		UserPoolID:   aws.ToString(pool.Id),
		UserClientID: aws.ToString(client.ClientId),
	}
	if want.Username, err = r.username(set, want.UserClientID); err != nil {
		return res, settled, err
	}
	if err := r.ensurePassword(ctx, pool, &set, want.Username); err != nil {
		return res, settled, err
	}
	want.Password = set.Password
	res = Result{
		UserPoolID: want.UserPoolID, ClientID: want.UserClientID, Username: want.Username,
		DiscoveryURL: want.DiscoveryURL, Issuer: r.issuer(want.UserPoolID), ParameterPath: r.store().Path(r.d.Name),
	}
	if r.dry && want.UserClientID == "" {
		want.UserClientID = "that of the client to be made"
	}
	if differ := want.Differences(set.Credentials); len(differ) > 0 {
		if err := r.change("write parameters "+strings.Join(differ, ", "), func() error {
			return r.store().Write(ctx, r.d.Name, set.Credentials, want)
		}); err != nil {
			return res, settled, err
		}
	}
	return res, settled, r.adoptParameters(ctx, found)
}

// username returns the name of the server's user: the recorded one if this owner
// owns it or may take it over, or else a label.
func (r *run) username(set recorded, clientID string) (string, error) {
	switch {
	case set.Username == "" || set.Username == r.userLabel():
		return r.userLabel(), nil
	case r.d.Adopt, set.UserClientID != "" && set.UserClientID == clientID:
		return set.Username, nil
	}
	return "", &OwnedError{What: fmt.Sprintf("the user %q in parameter %s%s", set.Username, r.store().Path(r.d.Name), credstore.Username)}
}

// userPool returns the server's user pool, or the one that d asks for if none is
// recorded.
func (r *run) userPool(ctx context.Context, set recorded) (*types.UserPoolType, error) {
	if set.UserPoolID == "" {
		return r.ensurePool(ctx, set)
	}
	if r.d.UserPoolID != "" && r.d.UserPoolID != set.UserPoolID {
		return nil, fmt.Errorf("the server's user pool is %s, where its users have to be too: leave UserPoolId out", set.UserPoolID)
	}
	pool, err := r.describePool(ctx, set.UserPoolID)
	if err == nil && pool == nil {
		err = fmt.Errorf("the server's user pool %s is gone: set the server up again first", set.UserPoolID)
	}
	return pool, err
}

// userFlows are the sign-in flows of the user's app client.
var userFlows = []types.ExplicitAuthFlowsType{types.ExplicitAuthFlowsTypeAllowRefreshTokenAuth, types.ExplicitAuthFlowsTypeAllowUserPasswordAuth}

// isUserClient reports whether the client is a public one for passwords.
func isUserClient(c *types.UserPoolClientType) bool {
	return aws.ToString(c.ClientSecret) == "" && !slices.Contains(c.AllowedOAuthFlows, types.OAuthFlowTypeClientCredentials) &&
		slices.Contains(c.ExplicitAuthFlows, types.ExplicitAuthFlowsTypeAllowUserPasswordAuth)
}

// ensureUserClient finds or makes the app client for the user and gives it the
// desired settings.
func (r *run) ensureUserClient(ctx context.Context, pool *types.UserPoolType, set recorded) (*types.UserPoolClientType, error) {
	client := &types.UserPoolClientType{}
	if pool.Id == nil { // a dry run, and the pool does not exist yet
		return client, r.change("create app client "+r.userLabel(), nil)
	}
	poolID := aws.ToString(pool.Id)
	found, err := r.clientsNamed(ctx, poolID, r.userLabel(), isUserClient)
	if err != nil {
		return nil, err
	}
	chosen := slices.IndexFunc(found, func(c *types.UserPoolClientType) bool { return aws.ToString(c.ClientId) == set.UserClientID })
	if chosen < 0 && set.UserClientID != "" {
		other, err := r.describeClient(ctx, poolID, set.UserClientID)
		switch {
		case err != nil:
			return nil, err
		case other == nil || r.d.Adopt && !isUserClient(other): // missing or not usable
		case !r.d.Adopt:
			return nil, &OwnedError{What: fmt.Sprintf("the app client %s in parameter %s%s", set.UserClientID, r.store().Path(r.d.Name), credstore.UserClientID)}
		default:
			found, chosen = append(found, other), len(found)
		}
	}
	if len(found) == 0 {
		err := r.change("create app client "+r.userLabel(), func() (err error) {
			client, err = once(ctx, r.Provisioner,
				func() (*types.UserPoolClientType, error) { return r.createUserClient(ctx, poolID) },
				func() (*types.UserPoolClientType, error) {
					found, err := r.clientsNamed(ctx, poolID, r.userLabel(), isUserClient)
					if len(found) == 0 {
						return nil, err
					}
					return found[0], err
				})
			return err
		})
		return client, err
	}
	client = found[max(0, chosen)]
	for _, c := range found { // made by a request whose answer was lost
		if c != client {
			if err := r.deleteClient(ctx, poolID, aws.ToString(c.ClientId)); err != nil {
				return nil, err
			}
		}
	}
	want := r.keepClient(client)
	want.ClientName, want.ExplicitAuthFlows = aws.String(r.userLabel()), userFlows
	if aws.ToString(client.ClientName) == r.userLabel() && sameLifetime(client, want) &&
		slices.Equal(slices.Sorted(slices.Values(client.ExplicitAuthFlows)), userFlows) {
		return client, nil
	}
	return client, r.change("update app client "+aws.ToString(client.ClientId), func() error {
		_, err := r.Cognito.UpdateUserPoolClient(ctx, want)
		return err
	})
}

func (r *run) createUserClient(ctx context.Context, poolID string) (*types.UserPoolClientType, error) {
	want := r.keepClient(&types.UserPoolClientType{})
	out, err := r.Cognito.CreateUserPoolClient(ctx, &cognitoidentityprovider.CreateUserPoolClientInput{
		UserPoolId:            aws.String(poolID),
		ClientName:            aws.String(r.userLabel()),
		GenerateSecret:        false, // public: agents sign in without one
		ExplicitAuthFlows:     userFlows,
		AccessTokenValidity:   want.AccessTokenValidity,
		TokenValidityUnits:    want.TokenValidityUnits,
		EnableTokenRevocation: want.EnableTokenRevocation,
	}, r.sentOnce)
	if err != nil {
		return nil, err
	}
	return out.UserPoolClient, nil
}

// ensurePassword makes sure that the user exists and that the password in the
// parameter is the user's permanent one.
func (r *run) ensurePassword(ctx context.Context, pool *types.UserPoolType, set *recorded, username string) error {
	poolID, status := aws.ToString(pool.Id), types.UserStatusType("")
	if poolID != "" {
		user, err := r.getUser(ctx, poolID, username)
		if err != nil {
			return err
		}
		if user != nil {
			status = user.UserStatus
		}
	}
	if status == "" {
		if err := r.change("create user "+username, func() error {
			_, err := r.Cognito.AdminCreateUser(ctx, &cognitoidentityprovider.AdminCreateUserInput{
				UserPoolId: pool.Id, Username: aws.String(username), MessageAction: types.MessageActionTypeSuppress,
			})
			if is[*types.UsernameExistsException](err) { // made by a request whose answer was lost
				return nil
			}
			return err
		}); err != nil {
			return err
		}
	}
	lost := set.Password.IsZero()
	if lost {
		password := newPassword(pool)
		if status == types.UserStatusTypeConfirmed {
			// A temporary password that nobody knows marks the work as
			// unfinished until the end.
			if err := r.setPassword(ctx, poolID, username, newPassword(pool), false); err != nil {
				return err
			}
		}
		if err := r.change("write parameter "+credstore.Password, func() error {
			return r.store().Write(ctx, r.d.Name, credstore.Credentials{}, credstore.Credentials{Password: password})
		}); err != nil {
			return err
		}
		set.Password = password
	}
	if status == types.UserStatusTypeConfirmed && !lost {
		return nil
	}
	return r.setPassword(ctx, poolID, username, set.Password, true)
}

// newPassword makes a password that every user pool's policy accepts: with
// characters of every kind, and as long as the policy requires.
func newPassword(pool *types.UserPoolType) credstore.Secret {
	text := rand.Text() + "-aA1"
	if pool.Policies != nil && pool.Policies.PasswordPolicy != nil {
		for len(text) < int(aws.ToInt32(pool.Policies.PasswordPolicy.MinimumLength)) { // at most 99
			text += rand.Text()
		}
	}
	return credstore.NewSecret(text)
}

func (r *run) setPassword(ctx context.Context, poolID, username string, password credstore.Secret, permanent bool) error {
	what := "set the password of user " + username
	if !permanent {
		what = "void the password of user " + username
	}
	return r.change(what, func() error {
		_, err := r.Cognito.AdminSetUserPassword(ctx, &cognitoidentityprovider.AdminSetUserPasswordInput{
			UserPoolId: aws.String(poolID), Username: aws.String(username), Password: aws.String(password.Reveal()), Permanent: permanent,
		})
		if err != nil && strings.Contains(err.Error(), password.Reveal()) { // a service may quote what it refuses
			return errors.New("Cognito refused it: " + errorCode(err))
		}
		return err
	})
}

// getUser returns the user, or nil when there is none.
func (r *run) getUser(ctx context.Context, poolID, username string) (*cognitoidentityprovider.AdminGetUserOutput, error) {
	out, err := r.Cognito.AdminGetUser(ctx, &cognitoidentityprovider.AdminGetUserInput{UserPoolId: aws.String(poolID), Username: aws.String(username)})
	if is[*types.UserNotFoundException](err) || is[*types.ResourceNotFoundException](err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading user %s: %w", username, err)
	}
	return out, nil
}

// findUser returns what exists of the server's user authentication. The client
// is made before the user and removed after it. So if there is no client,
// recorded or not, it does not ask for users: the custom resource has no
// permission to do so.
func (r *run) findUser(ctx context.Context, poolID string, set recorded) (clients, users []string, err error) {
	found, err := r.clientsNamed(ctx, poolID, r.userLabel(), isUserClient)
	if err != nil {
		return nil, nil, err
	}
	for _, c := range found {
		clients = append(clients, aws.ToString(c.ClientId))
	}
	var names []string
	known := r.mine(set) && set.UserPoolID == poolID
	if len(clients) > 0 || known && set.Username == r.userLabel() {
		names = append(names, r.userLabel())
	}
	if known && set.Username != r.userLabel() && set.Username != "" && slices.Contains(clients, set.UserClientID) { // adopted
		names = append(names, set.Username)
	}
	for _, name := range names {
		user, err := r.getUser(ctx, poolID, name)
		if err != nil {
			return nil, nil, err
		}
		if user != nil {
			users = append(users, name)
		}
	}
	return clients, users, nil
}

// removeUser deletes the server's user and then its app client.
func (r *run) removeUser(ctx context.Context, poolID string, set recorded) error {
	clients, users, err := r.findUser(ctx, poolID, set)
	if err != nil {
		return err
	}
	for _, name := range users {
		if err := r.change("delete user "+name, func() error {
			_, err := r.Cognito.AdminDeleteUser(ctx, &cognitoidentityprovider.AdminDeleteUserInput{UserPoolId: aws.String(poolID), Username: aws.String(name)})
			if is[*types.UserNotFoundException](err) {
				return nil
			}
			return ignoreMissing(err)
		}); err != nil {
			return err
		}
	}
	for _, id := range clients {
		if err := r.deleteClient(ctx, poolID, id); err != nil {
			return err
		}
	}
	return nil
}
