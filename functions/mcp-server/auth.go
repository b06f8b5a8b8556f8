package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"agentcore-mcp-auth/pkg/authorizer"
)

// The settings of the check of bearer tokens.
const (
	authDiscoveryURL   = "AUTH_DISCOVERY_URL"
	authAllowedClients = "AUTH_ALLOWED_CLIENTS"
	authAllowedScopes  = "AUTH_ALLOWED_SCOPES"
	authResource       = "AUTH_RESOURCE"
)

// authNames replaces the names of the authorizer's fields by those of our
// settings.
var authNames = strings.NewReplacer("DiscoveryURL", authDiscoveryURL, "AllowedClients", authAllowedClients,
	"AllowedScopes", authAllowedScopes, "ResourceURL", authResource)

// readAuth returns the configuration of the token check, or nil if none of its
// settings is set.
func readAuth(lookup func(string) (string, bool)) (*authorizer.Config, error) {
	var wrong []error
	values := map[string]string{}
	for _, name := range []string{authDiscoveryURL, authAllowedClients, authAllowedScopes, authResource} {
		v, ok := lookup(name)
		if ok && strings.TrimSpace(v) == "" {
			wrong = append(wrong, fmt.Errorf("%s is empty: give it a value, or unset all of AUTH_* to check no tokens", name))
		}
		if ok {
			values[name] = v
		}
	}
	if len(values) == 0 {
		return nil, nil
	}
	if _, ok := values[authDiscoveryURL]; !ok {
		wrong = append(wrong, fmt.Errorf("%s is missing beside the other AUTH_* settings: it says whose tokens to accept", authDiscoveryURL))
	}
	if values[authAllowedClients] == "" && values[authAllowedScopes] == "" {
		wrong = append(wrong, fmt.Errorf("%s or %s has to be set: without either, every client of the issuer would be let in", authAllowedClients, authAllowedScopes))
	}
	if wrong != nil {
		return nil, errors.Join(wrong...)
	}
	cfg := &authorizer.Config{DiscoveryURL: values[authDiscoveryURL], ResourceURL: values[authResource]}
	if v, ok := values[authAllowedClients]; ok {
		cfg.AllowedClients = list(v)
	}
	if v, ok := values[authAllowedScopes]; ok {
		cfg.AllowedScopes = list(v)
	}
	if _, err := authorizer.New(*cfg); err != nil {
		return nil, errors.New(authNames.Replace(err.Error()))
	}
	return cfg, nil
}

// caller returns the client id of the request's token.
func caller(ctx context.Context) string {
	claims, _ := authorizer.FromContext(ctx)
	return claims.ClientID
}
