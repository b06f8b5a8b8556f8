package mcpserver

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// hostRule decides by the Host and Origin headers whether a request may come
// in. MCP servers must check Origin against DNS rebinding:
// https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#security-warning
type hostRule struct {
	any   bool
	names map[string]bool // lower case, as given: with or without a port
}

func newHostRule(allowed []string) (hostRule, error) {
	r := hostRule{names: map[string]bool{}}
	for _, name := range allowed {
		if name == "*" {
			r.any = true
			continue
		}
		if u, err := url.Parse("//" + name); err != nil || u.Host != name || u.Hostname() == "" || strings.ContainsAny(name, "*, ") {
			return r, fmt.Errorf("allowed host %.80q: want a host name such as mcp.example.com, with or without a port, or *", name)
		}
		r.names[strings.ToLower(name)] = true
	}
	return r, nil
}

// check returns what is wrong with the request's Host or Origin, or "".
func (h hostRule) check(r *http.Request) string {
	local, _ := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	loopback := local != nil && local.IP.IsLoopback()
	switch {
	case h.any:
	case len(h.names) > 0:
		if !h.has(r.Host) {
			return "this Host is not allowed"
		}
	case loopback && !isLoopback(r.Host):
		return "this Host is not allowed on a loopback connection"
	}

	// No rule lets a foreign Origin in: web pages are not clients of an MCP
	// server. A page served by this machine itself, or by an allowed host, is not
	// foreign; "*" says nothing about origins.
	origins := r.Header.Values("Origin")
	if len(origins) == 0 {
		return ""
	}
	u, err := url.Parse(origins[0])
	own := len(origins) == 1 && err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" &&
		(h.has(u.Host) || loopback && isLoopback(u.Host) && isLoopback(r.Host))
	if !own {
		return "this Origin is not allowed"
	}
	return ""
}

// has reports whether a name, with or without a port, is listed with exactly
// that port or without any.
func (h hostRule) has(hostport string) bool {
	hostport = strings.ToLower(hostport)
	if h.names[hostport] {
		return true
	}
	u := url.URL{Host: hostport}
	name := u.Hostname()
	return name != "" && (h.names[name] || h.names["["+name+"]"])
}

// isLoopback reports whether a name or address, with or without a port, is this
// machine's own.
func isLoopback(hostport string) bool {
	if strings.HasPrefix(hostport, "127.0.0.1:") { // nearly always
		_, err := strconv.ParseUint(hostport[len("127.0.0.1:"):], 10, 16)
		return err == nil
	}
	u := url.URL{Host: hostport}
	name := u.Hostname()
	if strings.EqualFold(name, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(name)
	return err == nil && ip.Unmap().IsLoopback()
}
