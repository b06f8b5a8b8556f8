// Package provision sets up and removes the machine-to-machine credentials of
// MCP servers: one resource server, one scope and one app client per server in
// a Cognito user pool that many servers may share, and the parameters from
// which an agent reads them ([credstore]).
//
// For development [Provisioner.EnsureUser] adds a test user, who signs in with a
// password.
//
// [Provisioner.Ensure] makes what exists match a [Desired] state and may be
// repeated at will; [Provisioner.Plan] says what it would do, and
// [Provisioner.Recorded] what was desired last; [Provisioner.Remove] takes one
// server away; [Provisioner.Rotate] replaces its secret. [Handler] offers the
// same as a CloudFormation custom resource.
//
// Runnable examples are in example_test.go; they need no AWS account.
//
// https://docs.aws.amazon.com/cognito/latest/developerguide/cognito-user-pools-define-resource-servers.html
//
// # What is ours
//
// Nothing is taken, changed or deleted because of a name that others may use
// as well. User pools and parameters carry tags. Resource servers and app
// clients cannot: Cognito tags nothing inside a pool. They carry a label in
// their name field instead, which ends in a hash of the owner (a stack's id
// holds a UUID), the parameter prefix and the server's name. Owner, prefix and
// name are known to every later event, so the label is too, even when every
// parameter has been removed by hand, and nobody else arrives at it. An app
// client must also have the settings of a machine client, or of one for users,
// which bears another label than the machine's.
//
// # Why a crash after any call leaves nothing behind
//
// The order is: resource server, app client, secret, the other parameters, the
// client id last. Removal goes the other way round: app client, resource
// server, domain, pool, parameters. So where there is no resource server there is
// no client either, and where there are no parameters the rest is found by its
// label.
//
// The creations that Cognito would simply repeat (pool, app client, added
// secret) are sent once; when the answer was lost, what was made is looked for
// before another is made.
//
// Two runs at the same time, of the same event for instance, agree without a
// lock: resource server and parameters exist once or not at all, whichever
// run's secret was written first stands, and the app client with that secret
// stays while the other is deleted. A reader therefore never sees the secret of
// one client with the id of another. Where a client takes the place of a recorded
// one, in another pool for instance, there is no first: such a run takes the
// server's lock and holds the set ([credstore.Store.Hold]) for as long as its
// parameters do not belong together. Nothing decides either between two runs that
// make or remove a pool or rotate a secret, so they take a lock ([Provisioner]
// says where), which a dead process cannot hold for ever.
//
// # Rotation
//
// Cognito keeps two live secrets for a client. Rotation adds one, publishes it,
// and leaves the one before it alive for as long as tokens that were got with
// it, and an hour more; the next run after that deletes it. Cognito lists secrets
// by id and never shows their values, so a tag on the secret's parameter records
// which id which version of the parameter holds, written before the version is. A
// run that finds a rotation half done can tell from it which secret readers have.
package provision
