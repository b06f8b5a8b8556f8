package provision

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"agentcore-mcp-auth/pkg/credstore"
)

// Status compares what is recorded about a server with what exists.
type Status struct {
	Result          // Changes would make the two agree
	Endpoint string // recorded when the server was deployed
	Owner    string // empty: it has no owner's tag
	Resource string // the owner's name for it

	// UserClientID is the app client of user authentication, or empty, and
	// Result.Username its user.
	UserClientID string
}

// Status looks at a server of any owner and changes nothing. It returns
// credstore.ErrNotFound when nothing is recorded.
func (p *Provisioner) Status(ctx context.Context, name string) (Status, error) {
	if err := p.check(Desired{Name: name}); err != nil {
		return Status{}, err
	}
	set, err := p.newRun(Desired{Name: name}, true).read(ctx)
	if err != nil {
		return Status{}, err
	}
	s := Status{Endpoint: set.Endpoint, Owner: set.owner(), Resource: set.tags[tagResource]}
	if set.empty() {
		return s, fmt.Errorf("MCP server %s under %s: %w", name, p.prefix(), credstore.ErrNotFound)
	}
	d, problem, err := p.recordedDesire(ctx, name, set)
	if err == nil && problem == "" {
		s.Result, err = p.as(set).compare(ctx, d, set)
	} else if problem != "" {
		s.Changes = []string{problem}
	}
	s.UserClientID, s.Username = set.UserClientID, set.Username
	s.UserPoolID, s.ClientID, s.DiscoveryURL, s.Scope = set.UserPoolID, set.ClientID, set.DiscoveryURL, set.Scope
	s.ParameterPath = (&credstore.Store{Prefix: p.prefix()}).Path(name)
	return s, err
}

// Restore repairs what Status finds missing or changed in the machine
// credentials of a server, whoever owns it. Unlike [Provisioner.Ensure] it need
// not be told the server's settings. It refuses a set without an owner.
func (p *Provisioner) Restore(ctx context.Context, name string) (Result, error) {
	if err := p.check(Desired{Name: name}); err != nil {
		return Result{}, err
	}
	set, err := p.newRun(Desired{Name: name}, true).read(ctx)
	if err != nil {
		return Result{}, err
	}
	path := (&credstore.Store{Prefix: p.prefix()}).Path(name)
	switch {
	case set.empty():
		return Result{}, fmt.Errorf("MCP server %s under %s: %w", name, p.prefix(), credstore.ErrNotFound)
	case set.owner() == "":
		return Result{}, &OwnedError{What: "the parameters under " + path}
	}
	d, problem, err := p.recordedDesire(ctx, name, set)
	if err != nil {
		return Result{}, err
	}
	if problem != "" {
		return Result{}, fmt.Errorf("restoring %s: %s", path, problem)
	}
	return p.as(set).Ensure(ctx, d)
}

// Recorded returns the settings of a server's machine client and of its test
// user, as far as they can be known: the scopes, the lifetimes of tokens and the
// key. Passing them to [Provisioner.Ensure] or [Provisioner.EnsureUser] leaves
// these unchanged. If nothing is recorded, only the name is set.
func (p *Provisioner) Recorded(ctx context.Context, name string) (machine, user Desired, err error) {
	machine = Desired{Name: name}
	if err := p.check(machine); err != nil {
		return machine, machine, err
	}
	set, err := p.newRun(machine, true).read(ctx)
	if err != nil || set.empty() {
		return machine, machine, err
	}
	machine.KMSKeyID = set.tags[tagKey]
	d, problem, err := p.recordedDesire(ctx, name, set)
	if err != nil {
		return machine, machine, err
	}
	if problem == "" {
		machine.Scopes, machine.AccessTokenMinutes = d.Scopes, d.AccessTokenMinutes
	}
	user = machine
	user.AccessTokenMinutes, err = p.lifetime(ctx, d.UserPoolID, set.UserClientID)
	return machine, user, err
}

// compare plans the recorded machine client, the user, or both.
func (p *Provisioner) compare(ctx context.Context, d Desired, set recorded) (res Result, err error) {
	user := set.UserClientID != "" || set.Username != "" || !set.Password.IsZero()
	if !user || set.ClientID != "" || !set.ClientSecret.IsZero() || set.Scope != "" {
		if res, err = p.ensure(ctx, d, true); err != nil {
			return res, err
		}
	}
	if user {
		u := d
		if u.AccessTokenMinutes, err = p.lifetime(ctx, set.UserPoolID, set.UserClientID); err != nil {
			return res, err
		}
		var with Result
		with, err = p.PlanUser(ctx, u)
		res.Changes = append(res.Changes, with.Changes...)
	}
	return res, err
}

// lifetime is that of the access tokens of an app client, 0 if it has none in
// minutes or its user pool is not known.
func (p *Provisioner) lifetime(ctx context.Context, poolID, clientID string) (minutes int32, err error) {
	if clientID == "" || poolID == "" {
		return 0, nil
	}
	client, err := p.describeClient(ctx, poolID, clientID)
	if client == nil || client.TokenValidityUnits == nil || client.TokenValidityUnits.AccessToken != types.TimeUnitsTypeMinutes {
		return 0, err
	}
	return aws.ToInt32(client.AccessTokenValidity), nil
}

// as returns a provisioner for the set's owner.
func (p *Provisioner) as(set recorded) *Provisioner {
	q := *p
	q.Owner, q.Resource = set.owner(), set.tags[tagResource]
	return &q
}

// recordedDesire returns the state that the parameters and the app client
// describe, or the problem that keeps it from being known.
func (p *Provisioner) recordedDesire(ctx context.Context, name string, set recorded) (d Desired, problem string, err error) {
	d = Desired{Name: name, UserPoolID: set.UserPoolID, KMSKeyID: set.tags[tagKey], Adopt: true}
	if d.UserPoolID == "" {
		if d.UserPoolID, err = p.poolOfDiscovery(ctx, set); err != nil {
			return d, "", err
		}
	}
	if d.UserPoolID == "" {
		return d, "parameter " + credstore.UserPoolID + " is missing: set the server up again", nil
	}
	for s := range strings.FieldsSeq(set.Scope) {
		d.Scopes = append(d.Scopes, strings.TrimPrefix(s, name+"/"))
	}
	if err := p.check(d); err != nil {
		return d, fmt.Sprintf("the parameters are not what provisioning writes: %v", err), nil
	}
	pool, err := p.describePool(ctx, d.UserPoolID)
	if err != nil {
		return d, "", err
	}
	if pool == nil {
		return d, "user pool " + d.UserPoolID + " is gone: set the server up again", nil
	}
	clientID := set.ClientID
	if clientID == "" { // the client's label has it too
		found, err := p.as(set).newRun(d, true).findClients(ctx, d.UserPoolID)
		if err != nil {
			return d, "", err
		}
		if len(found) == 1 {
			clientID = aws.ToString(found[0].ClientId)
		}
	}
	if d.Scopes == nil {
		if d.Scopes, err = p.clientScopes(ctx, name, d.UserPoolID, clientID); err != nil {
			return d, "", err
		}
	}
	d.AccessTokenMinutes, err = p.lifetime(ctx, d.UserPoolID, clientID)
	return d, "", err
}

// poolOfDiscovery returns the user pool in the discovery URL if it has the
// recorded app client, or else "".
func (p *Provisioner) poolOfDiscovery(ctx context.Context, set recorded) (string, error) {
	base := strings.TrimSuffix(set.DiscoveryURL, openidConfiguration)
	id := base[strings.LastIndex(base, "/")+1:]
	if !validPool.MatchString(id) || set.ClientID == "" {
		return "", nil
	}
	client, err := p.describeClient(ctx, id, set.ClientID)
	if client == nil {
		return "", err
	}
	return id, nil
}

// clientScopes returns the server's scopes that an app client may ask for, or
// nil.
func (p *Provisioner) clientScopes(ctx context.Context, name, poolID, clientID string) (scopes []string, err error) {
	if clientID == "" {
		return nil, nil
	}
	client, err := p.describeClient(ctx, poolID, clientID)
	if client == nil {
		return nil, err
	}
	for _, s := range client.AllowedOAuthScopes {
		if scope, ok := strings.CutPrefix(s, name+"/"); ok {
			scopes = append(scopes, scope)
		}
	}
	return scopes, nil
}

// Leftover is something that has the owner's tag or label and belongs to no
// recorded server.
type Leftover struct {
	What   string // for people
	remove func(context.Context) error
}

// labelPattern matches the labels that this package writes into name fields.
var labelPattern = regexp.MustCompile(`^mcp(?:user)?-([a-zA-Z0-9_][a-zA-Z0-9_-]{0,63})-[0-9a-f]{32}$`)

// Leftovers finds what this owner's runs have left when they failed and nobody
// repeated them: app clients and resource servers in the user pools that servers
// under the prefix use or that were made here, such a pool itself when it is
// empty, and locks whose time is over. A set-up that is under way looks the same
// but for its locks, so call it when none is.
func (p *Provisioner) Leftovers(ctx context.Context) ([]Leftover, error) {
	if err := credstore.CheckPrefix(p.prefix()); err != nil {
		return nil, err
	}
	servers, pools, locks, err := p.inventory(ctx)
	if err != nil {
		return nil, err
	}
	own, err := p.findPool(ctx)
	if err != nil {
		return nil, err
	}
	if own != nil {
		pools[aws.ToString(own.Id)] = true
	}
	var left []Leftover
	for _, id := range slices.Sorted(maps.Keys(pools)) {
		in, err := p.leftoversIn(ctx, id, servers)
		if err != nil {
			return nil, err
		}
		left = append(left, in...)
	}
	for _, key := range locks {
		_, used := servers[key]
		if strings.HasSuffix(key, ".") { // the lock of a pool, of this owner or another
			used = key != p.poolLock() || own != nil
		}
		if !used {
			left = append(left, Leftover{"lock " + p.lockPath(key), func(ctx context.Context) error { return p.clearLock(ctx, key) }})
		}
	}
	return left, nil
}

// RemoveLeftovers removes what Leftovers finds and returns what that was. It
// waits for a set-up in the owner's own pool.
func (p *Provisioner) RemoveLeftovers(ctx context.Context) (removed []string, err error) {
	if err := credstore.CheckPrefix(p.prefix()); err != nil {
		return nil, err
	}
	unlock, err := p.lock(ctx, p.poolLock())
	if err != nil {
		return nil, err
	}
	defer unlock()
	for range 3 { // a pool becomes a leftover once it is empty, and its lock once the pool is gone
		left, err := p.Leftovers(ctx)
		if err != nil || len(left) == 0 {
			return removed, err
		}
		for _, l := range left {
			if err := l.remove(ctx); err != nil {
				return removed, fmt.Errorf("removing %s: %w", l.What, err)
			}
			removed = append(removed, l.What)
		}
	}
	return removed, nil
}

// clients holds the ids of a server's recorded app clients.
type clients struct{ machine, user string }

// inventory reads what is recorded under the prefix: the app clients of each
// server, the user pools in use, and the keys of locks whose time is over.
func (p *Provisioner) inventory(ctx context.Context) (servers map[string]clients, pools map[string]bool, locks []string, err error) {
	servers, pools = map[string]clients{}, map[string]bool{}
	pages := ssm.NewGetParametersByPathPaginator(p.SSM, &ssm.GetParametersByPathInput{
		Path: aws.String(p.prefix() + "/"), Recursive: aws.Bool(true), MaxResults: aws.Int32(10),
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, nil, nil, fmt.Errorf("reading parameters under %s: %w", p.prefix(), err)
		}
		for _, param := range page.Parameters {
			value := aws.ToString(param.Value)
			server, name, _ := strings.Cut(strings.TrimPrefix(aws.ToString(param.Name), p.prefix()+"/"), "/")
			switch {
			case server == ".lock":
				key := strings.TrimSuffix(name, evicting)
				if !p.now().Before(parseLock(value).Until) && !slices.Contains(locks, key) {
					locks = append(locks, key)
				}
			case name == credstore.ClientID:
				servers[server] = clients{value, servers[server].user}
			case name == credstore.UserClientID:
				servers[server] = clients{servers[server].machine, value}
			case name == credstore.UserPoolID:
				pools[value] = true
			}
		}
	}
	return servers, pools, locks, nil
}

// leftoversIn finds the owner's app clients that are not recorded, the owner's
// resource servers of servers that are not recorded, and the pool itself if it
// was made here and is empty.
func (p *Provisioner) leftoversIn(ctx context.Context, poolID string, recordedServers map[string]clients) ([]Leftover, error) {
	// ofOwner returns a run for the server that the label names if it is this
	// owner's.
	ofOwner := func(name string) *run {
		m := labelPattern.FindStringSubmatch(name)
		if m == nil {
			return nil
		}
		if r := p.newRun(Desired{Name: m[1]}, false); r.label() == name || r.userLabel() == name {
			return r
		}
		return nil
	}
	pool, err := p.describePool(ctx, poolID)
	if err != nil || pool == nil {
		return nil, err
	}
	var left []Leftover
	for c, err := range p.poolClients(ctx, poolID) {
		if err != nil {
			return nil, err
		}
		id, name := aws.ToString(c.ClientId), aws.ToString(c.ClientName)
		r := ofOwner(name)
		if r == nil {
			continue
		}
		known := recordedServers[r.d.Name]
		if id == known.machine || id == known.user {
			continue
		}
		left = append(left, Leftover{fmt.Sprintf("app client %s of %s in user pool %s", id, r.d.Name, poolID), func(ctx context.Context) error {
			if name == r.userLabel() && known.user == "" { // then its user is not recorded either
				return r.removeUser(ctx, poolID, recorded{})
			}
			return r.deleteClient(ctx, poolID, id)
		}})
	}
	for s, err := range p.poolResourceServers(ctx, poolID) {
		if err != nil {
			return nil, err
		}
		r := ofOwner(aws.ToString(s.Name))
		if r == nil || recordedServers[r.d.Name].machine != "" {
			continue
		}
		left = append(left, Leftover{fmt.Sprintf("resource server %s in user pool %s", r.d.Name, poolID), func(ctx context.Context) error {
			_, err := r.removeFromPool(ctx, poolID, recorded{})
			return err
		}})
	}
	if pool.UserPoolTags[tagPool] != p.poolKey() {
		return left, nil
	}
	r := p.newRun(Desired{}, false)
	empty, err := r.lastServer(ctx, poolID)
	if empty {
		left = append(left, Leftover{"user pool " + poolID + ", which no server uses", func(ctx context.Context) error {
			if err := r.removable(ctx, pool, recorded{}); err != nil {
				return err
			}
			return r.removePool(ctx, pool)
		}})
	}
	return left, err
}
