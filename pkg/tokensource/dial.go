package tokensource

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"
)

// newTransport is for the few requests of a fetch: no connection is kept,
// because the next one comes an hour later, and addresses are checked after DNS,
// so that no name leads to the instance metadata service or to this machine.
// Other private addresses are let through, for names that [hostRule] trusts:
// Cognito has them too, behind a VPC endpoint. A nil resolver is the default one.
func newTransport(resolver *net.Resolver) *http.Transport {
	dialer := func(allowed func(netip.Addr) bool) *net.Dialer {
		return &net.Dialer{Timeout: 5 * time.Second, Resolver: resolver, Control: control(allowed)}
	}
	public := dialer(func(ip netip.Addr) bool { return !isLocal(ip) })
	loopback := dialer(netip.Addr.IsLoopback)
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if host, _, err := net.SplitHostPort(addr); err == nil && isLoopback(host) {
				return loopback.DialContext(ctx, network, addr)
			}
			return public.DialContext(ctx, network, addr)
		},
		TLSHandshakeTimeout: 5 * time.Second,
		DisableKeepAlives:   true,
		ForceAttemptHTTP2:   true,
	}
}

// control refuses to dial an address that allowed does not allow. A dialer calls
// it after DNS, for each address it tries.
func control(allowed func(netip.Addr) bool) func(network, address string, c syscall.RawConn) error {
	return func(_, address string, _ syscall.RawConn) error {
		ap, err := netip.ParseAddrPort(address)
		if err != nil || !allowed(ap.Addr().Unmap().WithZone("")) {
			return fmt.Errorf("refusing to dial %s: an issuer's host name must not lead to such an address", address)
		}
		return nil
	}
}

var (
	// The IPv6 forms of the instance metadata service and of its relatives.
	// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-service.html
	awsLocal = netip.MustParsePrefix("fd00:ec2::/32")

	nat64 = netip.MustParsePrefix("64:ff9b::/96") // RFC 6052: IPv4 in the last four bytes
)

// isLocal reports whether ip is an address that only this machine has, or only
// its link.
func isLocal(ip netip.Addr) bool {
	if nat64.Contains(ip) {
		b := ip.As16()
		ip = netip.AddrFrom4([4]byte(b[12:]))
	}
	return ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.IsUnspecified() || ip.IsMulticast() || awsLocal.Contains(ip) ||
		ip == netip.AddrFrom4([4]byte{255, 255, 255, 255})
}
