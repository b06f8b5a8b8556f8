package tokensource

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"agentcore-mcp-auth/pkg/credstore"
)

const (
	wellKnown = "/.well-known/openid-configuration"

	// maxDocument bounds a discovery document or a token answer.
	maxDocument = 1 << 20

	// metadataLife is how long a discovery document is kept.
	metadataLife = 24 * time.Hour

	// maxToken bounds an access token. AgentCore takes header values up to
	// this size.
	maxToken = 16 << 10

	// defaultLife is assumed when the answer has no usable expires_in
	// (RFC 6749, section 5.1, only recommends it), and is Cognito's least.
	defaultLife = 5 * time.Minute
	maxLife     = 24 * time.Hour
)

// fetcher makes the requests of one fetch. The Source sees to it that fetches
// do not overlap, but for one left behind frozen, hence the lock.
type fetcher struct {
	credentials Credentials
	client      *http.Client
	now         func() time.Time

	mu       sync.Mutex
	metadata *metadata // the last good one
}

// metadata is what we need of a discovery document.
type metadata struct {
	Issuer        string   `json:"issuer"`
	TokenEndpoint string   `json:"token_endpoint"`
	AuthMethods   []string `json:"token_endpoint_auth_methods_supported"`

	source string // the discovery URL
	read   time.Time
}

// token reads the credentials and exchanges them. A client that is refused may
// have been rotated under us: the credentials are read once more, past any
// cache, and tried again if they changed.
func (f *fetcher) token(ctx context.Context) (Token, error) {
	c, err := f.read(ctx, f.credentials.Get)
	if err != nil {
		return Token{}, err
	}
	t, err := f.exchange(ctx, c)
	var refused *RefusedError
	if !errors.As(err, &refused) || refused.Code != "invalid_client" {
		return t, err
	}
	fresh, readErr := f.read(ctx, f.credentials.Refresh)
	if readErr != nil {
		return Token{}, readErr
	}
	if fresh == c {
		return Token{}, err
	}
	return f.exchange(ctx, fresh)
}

func (f *fetcher) read(ctx context.Context, get func(context.Context) (credstore.Credentials, error)) (credstore.Credentials, error) {
	c, err := get(ctx)
	if errors.Is(err, credstore.ErrNotFound) {
		return c, &ConfigError{Setting: "parameters " + f.credentials.Path(), Err: err}
	}
	if err != nil {
		return c, &UnavailableError{Doing: "reading client credentials", Err: err}
	}
	if err := c.Machine(); err != nil {
		return c, &ConfigError{Setting: "parameters " + f.credentials.Path(), Err: err}
	}
	return c, nil
}

func (f *fetcher) exchange(ctx context.Context, c credstore.Credentials) (Token, error) {
	m, err := f.discover(ctx, c.DiscoveryURL)
	if err != nil {
		return Token{}, err
	}
	return f.post(ctx, m, c)
}

// discover returns the metadata of the issuer, from its discovery document or
// from the last good copy of it.
func (f *fetcher) discover(ctx context.Context, discoveryURL string) (*metadata, error) {
	f.mu.Lock()
	kept := f.metadata
	f.mu.Unlock()
	if kept != nil && kept.source != discoveryURL {
		kept = nil
	}
	if kept != nil && f.now().Sub(kept.read) < metadataLife {
		return kept, nil
	}
	m, err := f.readMetadata(ctx, discoveryURL)
	var unavailable *UnavailableError
	if errors.As(err, &unavailable) && kept != nil {
		return kept, nil
	}
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	f.metadata = m
	f.mu.Unlock()
	return m, nil
}

func (f *fetcher) readMetadata(ctx context.Context, discoveryURL string) (*metadata, error) {
	setting := "parameter " + f.credentials.Path() + credstore.DiscoveryURL
	refuse := func(format string, args ...any) error {
		return &ConfigError{Setting: setting, Err: fmt.Errorf(format, args...)}
	}
	u, err := url.Parse(discoveryURL)
	if err != nil {
		return nil, refuse("not a URL")
	}
	if err := checkURL(u); err != nil {
		return nil, refuse("%w", err)
	}
	issuer, ok := strings.CutSuffix(discoveryURL, wellKnown)
	if !ok {
		return nil, refuse("does not end in %s", wellKnown)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, discoveryURL, nil)
	if err != nil {
		return nil, refuse("%w", err)
	}
	req.Header.Set("Accept", "application/json")
	status, header, body, err := f.do(req)
	if err != nil {
		return nil, &UnavailableError{Doing: "reading the discovery document", Err: err}
	}
	if err := unavailable("reading the discovery document", status, header); err != nil {
		return nil, err
	}
	if status != http.StatusOK {
		return nil, refuse("the discovery document answered %d", status)
	}
	var m metadata
	if err := json.Unmarshal(body, &m); err != nil {
		return nil, refuse("the discovery document is not JSON of the expected form")
	}
	// OpenID Connect Discovery 1.0, section 4.3: the issuer must be exactly
	// the one that was asked.
	if m.Issuer != issuer {
		return nil, refuse("the discovery document is of issuer %.200q, not %q", m.Issuer, issuer)
	}
	if m.TokenEndpoint == "" {
		return nil, refuse("the discovery document names no token endpoint; a Cognito user pool has one once it has a domain")
	}
	t, err := url.Parse(m.TokenEndpoint)
	if err != nil {
		return nil, refuse("the discovery document's token endpoint is not a URL")
	}
	if err := checkURL(t); err != nil {
		return nil, refuse("the discovery document's token endpoint: %w", err)
	}
	if isLoopback(t.Hostname()) && !isLoopback(u.Hostname()) {
		return nil, refuse("the discovery document points its token endpoint at this machine")
	}
	m.source, m.read = discoveryURL, f.now()
	return &m, nil
}

// post asks the token endpoint for a token. The client authenticates in the
// one way that the metadata names, and never tries another one.
func (f *fetcher) post(ctx context.Context, m *metadata, c credstore.Credentials) (Token, error) {
	form := url.Values{"grant_type": {"client_credentials"}}
	if c.Scope != "" {
		form.Set("scope", c.Scope)
	}
	// RFC 8414, section 2: without the member, client_secret_basic.
	basic := len(m.AuthMethods) == 0 || slices.Contains(m.AuthMethods, "client_secret_basic")
	if !basic {
		if !slices.Contains(m.AuthMethods, "client_secret_post") {
			return Token{}, &ConfigError{Setting: "issuer " + m.Issuer,
				Err: errors.New("its token endpoint takes neither client_secret_basic nor client_secret_post")}
		}
		form.Set("client_id", c.ClientID)
		form.Set("client_secret", c.ClientSecret.Reveal())
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, m.TokenEndpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return Token{}, &ConfigError{Setting: "issuer " + m.Issuer, Err: errors.New("its token endpoint is not a URL")}
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	if basic {
		// RFC 6749, section 2.3.1: both are form-encoded before Basic.
		req.SetBasicAuth(url.QueryEscape(c.ClientID), url.QueryEscape(c.ClientSecret.Reveal()))
	}
	asked := f.now()
	status, header, body, err := f.do(req)
	if err != nil {
		return Token{}, &UnavailableError{Doing: "asking the token endpoint", Err: err}
	}
	if err := unavailable("asking the token endpoint", status, header); err != nil {
		return Token{}, err
	}
	var answer struct {
		AccessToken string          `json:"access_token"`
		TokenType   string          `json:"token_type"`
		ExpiresIn   json.RawMessage `json:"expires_in"`
		Error       string          `json:"error"`
	}
	jsonErr := json.Unmarshal(body, &answer)
	if answer.Error != "" || status != http.StatusOK {
		return Token{}, f.refused(status, answer.Error)
	}
	bad := func(what string) error {
		return &UnavailableError{Doing: "asking the token endpoint", Err: errors.New(what)}
	}
	if mt, _, _ := mime.ParseMediaType(header.Get("Content-Type")); mt != "application/json" || jsonErr != nil {
		return Token{}, bad("its answer is not JSON")
	}
	if !strings.EqualFold(answer.TokenType, "Bearer") {
		return Token{}, bad("its token type is not Bearer")
	}
	if !validToken(answer.AccessToken) {
		return Token{}, bad("its access token is empty, too long or has characters that no token has")
	}
	return newToken(answer.AccessToken, asked, life(answer.ExpiresIn)), nil
}

// refused makes the error for a token endpoint's refusal. Its own description
// is left out: it is text of whoever answers there.
func (f *fetcher) refused(status int, code string) error {
	parameter := map[string]string{
		"invalid_client": credstore.ClientSecret,
		"invalid_scope":  credstore.Scope,
	}[code]
	if parameter == "" {
		parameter = credstore.ClientID
	}
	if !slices.Contains([]string{"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope"}, code) {
		code = strconv.Itoa(status)
	}
	return &RefusedError{Code: code, Parameter: f.credentials.Path() + parameter}
}

// newToken works out when a token asked for at that time has to be renewed and
// until when it may be handed out. The lives of very short tokens are shared
// out, so that no life leads to a fetch per call.
func newToken(access string, asked time.Time, life time.Duration) Token {
	expiry := asked.Add(life)
	return Token{
		AccessToken: credstore.NewSecret(access),
		Expiry:      expiry,
		renewAt:     expiry.Add(-min(max(life/10, renewBefore), life*3/4)),
		usableUntil: expiry.Add(-min(minLeft, life/2)),
	}
}

// life reads expires_in, which is a number of seconds, by some issuers in
// quotes. What is missing, senseless or longer than a day is tamed.
func life(raw json.RawMessage) time.Duration {
	seconds, err := strconv.ParseFloat(strings.Trim(string(raw), `"`), 64)
	switch {
	case err != nil || !(seconds > 0):
		return defaultLife
	case seconds > maxLife.Seconds():
		return maxLife
	default:
		return max(time.Duration(seconds*float64(time.Second)), 10*time.Second)
	}
}

// validToken reports whether t is a b64token of RFC 6750, section 2.1, and so
// can be put into a header.
func validToken(t string) bool {
	if t == "" || len(t) > maxToken {
		return false
	}
	for _, b := range []byte(t) {
		if !('a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' || strings.IndexByte("-._~+/=", b) >= 0) {
			return false
		}
	}
	return true
}

// do sends req and reads the whole answer, up to maxDocument. Its errors name
// the host and not the rest of the URL.
func (f *fetcher) do(req *http.Request) (int, http.Header, []byte, error) {
	resp, err := f.client.Do(req)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err
		}
		return 0, nil, nil, fmt.Errorf("%s: %w", req.URL.Host, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxDocument+1))
	if err != nil {
		return 0, nil, nil, fmt.Errorf("%s: %w", req.URL.Host, err)
	}
	if len(body) > maxDocument {
		return 0, nil, nil, fmt.Errorf("%s: its answer is over %d bytes", req.URL.Host, maxDocument)
	}
	return resp.StatusCode, resp.Header, body, nil
}

// unavailable returns an error for the statuses that may pass: 408, 429 and 5xx.
func unavailable(doing string, status int, header http.Header) error {
	if status != http.StatusRequestTimeout && status != http.StatusTooManyRequests && status < 500 {
		return nil
	}
	return &UnavailableError{Doing: doing, Err: fmt.Errorf("it answered %d", status), RetryAfter: retryAfter(header)}
}

// retryAfter reads the header of RFC 9110, section 10.2.3, in both its forms.
func retryAfter(h http.Header) time.Duration {
	v := h.Get("Retry-After")
	if n, err := strconv.Atoi(v); err == nil && n > 0 {
		return min(time.Duration(n)*time.Second, time.Hour)
	}
	if t, err := http.ParseTime(v); err == nil {
		return min(max(time.Until(t), 0), time.Hour)
	}
	return 0
}

// checkURL refuses a URL that a secret or a token must not be sent to: only
// https to a host name, or http(s) to a loopback address.
func checkURL(u *url.URL) error {
	switch {
	case u.Host == "" || u.Opaque != "":
		return errors.New("not an absolute URL")
	case u.User != nil:
		return errors.New("must not carry a user name or password")
	case u.Fragment != "":
		return errors.New("must not have a fragment")
	case isLoopback(u.Hostname()) && (u.Scheme == "http" || u.Scheme == "https"):
		return nil
	case u.Scheme != "https":
		return errors.New("must be https (http only on a loopback address)")
	case looksNumeric(u.Hostname()):
		return errors.New("must name its host, not a number")
	}
	return nil
}

// isLoopback reports whether host is localhost or a loopback address in its
// canonical form.
func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// looksNumeric reports whether host is an IP address in any of the forms that
// resolvers take, such as 0x7f.1 or 2130706433: no public name ends in a label
// that starts with a digit.
func looksNumeric(host string) bool {
	if strings.Contains(host, ":") {
		return true
	}
	host = strings.TrimSuffix(host, ".")
	last := host[strings.LastIndex(host, ".")+1:]
	return last == "" || last[0] >= '0' && last[0] <= '9'
}

func originOf(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[strings.ToLower(u.Scheme)]
	}
	return strings.ToLower(u.Scheme) + "://" + net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}

func refuseRedirect(req *http.Request, via []*http.Request) error {
	return fmt.Errorf("refusing a redirect to %s", req.URL.Host)
}

// newTransport is for the few requests of a fetch: no connection is kept,
// because the next one comes an hour later, and a name must not resolve to the
// instance metadata service or another address that only this machine has.
func newTransport() *http.Transport {
	dialer := &net.Dialer{Timeout: 5 * time.Second, Control: refuseLocalAddress}
	loopback := &net.Dialer{Timeout: 5 * time.Second}
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if host, _, err := net.SplitHostPort(addr); err == nil && isLoopback(host) {
				return loopback.DialContext(ctx, network, addr)
			}
			return dialer.DialContext(ctx, network, addr)
		},
		TLSHandshakeTimeout:   5 * time.Second,
		ResponseHeaderTimeout: 10 * time.Second,
		DisableKeepAlives:     true,
		ForceAttemptHTTP2:     true,
	}
}

// refuseLocalAddress runs after DNS, on the address about to be dialled.
func refuseLocalAddress(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("refusing to dial %s", address)
	}
	if ip := ap.Addr().Unmap(); ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.IsUnspecified() || ip.IsMulticast() {
		return fmt.Errorf("refusing to dial %s: a public name must not lead to this machine", ip)
	}
	return nil
}
