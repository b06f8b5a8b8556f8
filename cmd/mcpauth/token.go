package main

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"agentcore-mcp-auth/pkg/tokensource"
)

func tokenCommand() *cobra.Command {
	var s server
	var claims bool
	cmd := &cobra.Command{
		Use:   "token --mcp-name NAME",
		Short: "Fetch an access token for an MCP server",
		Long: `Token fetches an access token as an agent would and prints it as the only line of
stdout. Anyone who has it can act as the machine client until it expires: keep it
in a variable, and out of logs. With --claims it prints the content of the token,
decoded and unverified, instead of the token.`,
		Example: "  mcpauth token --mcp-name calculator --claims\n" +
			"  TOKEN=$(mcpauth token --mcp-name calculator) mcpauth tools --url https://mcp.example.com/mcp --bearer-env TOKEN",
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := s.check(); err != nil {
				return err
			}
			if s.auth != authMachine && s.auth != authUser {
				return usagef("--auth %s: want m2m or user, which have tokens", s.auth)
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), s.timeout)
			defer cancel()
			token, err := s.token(ctx, cmd)
			if err != nil {
				return s.advise(err)
			}
			if claims {
				decoded, err := decodeToken(token.AccessToken.Reveal())
				if err != nil {
					return err
				}
				return printJSON(cmd, decoded)
			}
			if asJSON(cmd) {
				return printJSON(cmd, map[string]any{
					"access_token": token.AccessToken.Reveal(), "token_type": "Bearer", "expires_at": token.Expiry.UTC().Format(time.RFC3339),
				})
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), token.AccessToken.Reveal())
			return err
		},
	}
	cmd.Flags().StringVar(&s.name, "mcp-name", "", "name of the MCP server (required)")
	cmd.MarkFlagRequired("mcp-name")
	cmd.Flags().StringVar(&s.auth, "auth", "", "m2m (default), or user for the test user's token")
	cmd.Flags().BoolVar(&claims, "claims", false, "print the header and the claims as JSON instead of the token")
	completeValues(cmd, "auth", authMachine, authUser)
	s.sourceFlags(cmd)
	s.completeNames(cmd)
	return cmd
}

// token fetches a token for the recorded endpoint. A server without one can have
// tokens too: its source is then bound to the issuer, and the token is sent
// nowhere.
func (s *server) token(ctx context.Context, cmd *cobra.Command) (tokensource.Token, error) {
	cfg, err := s.load(ctx)
	if err != nil {
		return tokensource.Token{}, err
	}
	set, c, err := s.read(ctx, cfg)
	if err != nil {
		return tokensource.Token{}, err
	}
	e, err := locate(cmp.Or(c.Endpoint, c.DiscoveryURL))
	if err != nil {
		return tokensource.Token{}, err
	}
	source, err := s.source(set, e.URL, newLogger(cmd))
	if err != nil {
		return tokensource.Token{}, err
	}
	return source.Token(ctx)
}

// decodedToken is the content of a JWT. Its signature is not verified.
type decodedToken struct {
	Header json.RawMessage `json:"header"`
	Claims json.RawMessage `json:"claims"`
}

// decodeToken decodes a JWT. Its errors contain nothing of the token.
func decodeToken(token string) (decodedToken, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return decodedToken{}, errors.New("the token is not a JWT, so it has no claims to decode")
	}
	var decoded [2]json.RawMessage
	for i := range decoded {
		raw, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil || !json.Valid(raw) {
			return decodedToken{}, errors.New("the token is not a JWT: its header and claims do not decode")
		}
		decoded[i] = raw
	}
	return decodedToken{decoded[0], decoded[1]}, nil
}
