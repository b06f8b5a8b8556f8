package provision

import (
	"encoding/json"
	"strings"
)

// AuthorizerConfiguration is the setting for CreateAgentRuntime that admits
// exactly this client and, for a machine, scope. It names no audience: Cognito's
// access tokens have none.
func (r Result) AuthorizerConfiguration() json.RawMessage {
	type jwt struct {
		DiscoveryURL   string   `json:"discoveryUrl"`
		AllowedClients []string `json:"allowedClients"`
		AllowedScopes  []string `json:"allowedScopes,omitempty"`
	}
	raw, err := json.Marshal(map[string]jwt{"customJWTAuthorizer": {r.DiscoveryURL, []string{r.ClientID}, strings.Fields(r.Scope)}})
	if err != nil {
		panic(err) // strings encode
	}
	return raw
}
