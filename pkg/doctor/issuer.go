package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"

	"agentcore-mcp-auth/pkg/credstore"
)

const openidConfiguration = "/.well-known/openid-configuration"

// document is the part of an issuer's discovery document that is needed.
type document struct {
	Issuer        string `json:"issuer"`
	TokenEndpoint string `json:"token_endpoint"`
}

// Hosts of Amazon Cognito: of user pools, and of their prefix domains.
// https://docs.aws.amazon.com/cognito/latest/developerguide/federation-endpoints.html
var (
	cognitoHost   = regexp.MustCompile(`^(?:issuer-)?cognito-idp(?:-fips)?\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?$`)
	cognitoDomain = regexp.MustCompile(`^[a-z0-9-]+\.auth(?:-fips)?\.[a-z0-9-]+\.amazoncognito\.com(?:\.cn)?$`)
	poolForm      = regexp.MustCompile(`^([a-z]{2,4}(?:-[a-z]+)+-\d)_[0-9a-zA-Z]{1,22}$`)
)

// pool returns the user pool of a discovery URL, which is the last element
// before the well-known part, or "".
func pool(discoveryURL string) string {
	base, ok := strings.CutSuffix(discoveryURL, openidConfiguration)
	if id := base[strings.LastIndex(base, "/")+1:]; ok && poolForm.MatchString(id) {
		return id
	}
	return ""
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// examineIssuer checks the discovery URL and its document.
func (e *exam) examineIssuer(ctx context.Context) {
	e.step("discovery.url", e.checkDiscoveryURL, checkID(credstore.DiscoveryURL))
	e.step("discovery.document", func() Check { return e.fetchDocument(ctx) }, "discovery.url")
	e.step("discovery.issuer", e.checkIssuer, "discovery.document")
	e.step("discovery.token_endpoint", e.checkTokenEndpoint, "discovery.document")
}

func (e *exam) checkDiscoveryURL() Check {
	raw := e.value(credstore.DiscoveryURL)
	c := e.advice.restored(Check{Status: Fail, Expected: "https://cognito-idp.REGION.amazonaws.com/POOL" + openidConfiguration, Found: e.clean(raw)})
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" || u.RawQuery != "" {
		c.Cause = "it is not a plain absolute URL"
		return c
	}
	host, id, recorded := strings.ToLower(u.Hostname()), pool(raw), e.value(credstore.UserPoolID)
	m := cognitoHost.FindStringSubmatch(host)
	switch {
	case cognitoDomain.MatchString(host):
		c.Cause = "that is the pool's domain, which has the token endpoint; the discovery document is never there"
	case u.Scheme != "https" && !(u.Scheme == "http" && isLoopback(host)):
		c.Cause = "only https is trusted with a secret"
	case !strings.HasSuffix(raw, openidConfiguration):
		c.Cause = "it does not end in " + openidConfiguration + "; it is the issuer, or cut short"
	case m == nil && id == "":
		return pass(fmt.Sprintf("%s, which is not Cognito's", host))
	case m != nil && id == "":
		c.Cause = "its path is not the id of a user pool"
	case m != nil && !strings.HasPrefix(id, m[1]+"_"):
		region, _, _ := strings.Cut(id, "_")
		c.Cause = fmt.Sprintf("user pool %s is in %s and the host in %s", id, region, m[1])
	case recorded != "" && recorded != id:
		c.Cause = fmt.Sprintf("it is of user pool %s, and parameter %s names %s", id, credstore.UserPoolID, e.clean(recorded))
	case !strings.HasPrefix(id, e.cfg.AWS.Region+"_"):
		c.Status = Warn
		c.Expected = "a user pool in " + e.cfg.AWS.Region
		c.Cause = "the server was set up in another region than the one that is examined"
		c.Next = e.advice.mcpauth("doctor", "--region", strings.Split(id, "_")[0])
		c.Repair = nil
	default:
		return pass("user pool " + id)
	}
	return c
}

// maxDocument bounds how much of an answer is read.
const maxDocument = 1 << 20

// fetch reads one answer.
func (e *exam) fetch(ctx context.Context, from string) (status int, kind string, body []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return 0, "", nil, err
	}
	req.Header.Set("Accept", "application/json")
	resp, err := e.http.Do(req)
	if err != nil {
		return 0, "", nil, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(io.LimitReader(resp.Body, maxDocument))
	kind, _, _ = mime.ParseMediaType(resp.Header.Get("Content-Type"))
	return resp.StatusCode, kind, body, err
}

func (e *exam) fetchDocument(ctx context.Context) Check {
	from := e.value(credstore.DiscoveryURL)
	c := Check{Status: Fail, Expected: "the issuer's document as JSON", Next: "curl -si " + quote(from)}
	status, kind, body, err := e.fetch(ctx, from)
	switch {
	case err != nil:
		c.Found, c.Cause = e.network(err)
	case status == http.StatusNotFound, status == http.StatusBadRequest:
		c.Found, c.Cause = fmt.Sprintf("%d: %s", status, e.clean(string(body))), "the user pool has been deleted, or is in another region or account"
		if id := pool(from); id != "" {
			c.Next = e.advice.aws(strings.Split(id, "_")[0], "cognito-idp", "describe-user-pool", "--user-pool-id", id, "--query", "UserPool.[Name,Domain]")
		}
	case status != http.StatusOK:
		c.Found, c.Cause = fmt.Sprintf("%d", status), "a proxy answers in the issuer's place"
		if status >= 500 || status == http.StatusTooManyRequests {
			c.Cause, c.Next = "the issuer is overloaded or down", e.advice.doctor()
		}
	case kind != "application/json" || json.Unmarshal(body, &e.document) != nil:
		c.Found, c.Cause = fmt.Sprintf("%s of %d bytes", clean(kind), len(body)), "a proxy or a log-in page answers in the issuer's place, or the URL leads elsewhere"
	default:
		return pass(fmt.Sprintf("read from %s", hostOf(from)))
	}
	return c
}

func hostOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	return u.Host
}

// checkIssuer applies the rule of OpenID Connect Discovery 1.0, section 4.3: the
// issuer in the document is exactly the one that was asked.
func (e *exam) checkIssuer() Check {
	asked := strings.TrimSuffix(e.value(credstore.DiscoveryURL), openidConfiguration)
	if e.document.Issuer == asked {
		return pass(e.clean(asked))
	}
	c := e.advice.restored(Check{
		Status: Fail, Expected: "issuer " + e.clean(asked), Found: "issuer " + e.clean(e.document.Issuer),
		Cause: "the discovery URL and the issuer are spelled differently: another host, a slash too many, or a custom form of the address",
	})
	if e.document.Issuer == "" {
		c.Found, c.Cause, c.Next, c.Repair = "no issuer", "it is another document", "curl -s "+quote(e.value(credstore.DiscoveryURL)), nil
	}
	return c
}

func (e *exam) checkTokenEndpoint() Check {
	c := e.advice.remade(Check{Status: Fail, Expected: "a token endpoint with https", Found: "none"})
	raw := e.document.TokenEndpoint
	if raw == "" {
		c.Cause = "the user pool has no domain, and without one there is no token endpoint"
		prefix, _, ok := strings.Cut(hostName(e.value(credstore.Domain)), ".auth")
		if ok && c.Repair == nil { // not a pool of provisioning: make its recorded domain again
			c.Next = e.advice.aws("", "cognito-idp", "create-user-pool-domain", "--user-pool-id", e.userPool(), "--domain", prefix)
		}
		return c
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.Scheme != "https" && !isLoopback(u.Hostname()) {
		c.Found, c.Repair = e.clean(raw), nil
		c.Cause, c.Next = "the issuer's document is broken, or not the issuer's", "curl -s "+quote(e.value(credstore.DiscoveryURL))
		return c
	}
	return pass(e.clean(raw))
}
