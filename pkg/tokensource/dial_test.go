package tokensource

import (
	"context"
	"encoding/binary"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// nameServer answers every question for an IPv4 address with the next of addrs,
// over UDP, and returns a resolver that asks it.
func nameServer(t *testing.T, addrs ...netip.Addr) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		buf := make([]byte, 512)
		for n := 0; ; {
			size, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			end := 12 // of the question: labels, a zero, type and class
			for end < size && buf[end] != 0 {
				end += int(buf[end]) + 1
			}
			end += 5
			reply := append([]byte{buf[0], buf[1], 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, buf[12:end]...)
			if binary.BigEndian.Uint16(buf[end-4:]) == 1 {
				ip := addrs[min(n, len(addrs)-1)].As4()
				n++
				reply[7] = 1 // one answer: pointer to the name, A, IN, no life, 4 bytes
				reply = append(append(reply, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4), ip[:]...)
			}
			conn.WriteTo(reply, from)
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

// A public name that resolves to this machine, at once or after a first good
// answer, is not dialled.
func TestDial_afterDNS(t *testing.T) { // case 42
	var reached atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	defer srv.Close()
	port := srv.URL[strings.LastIndex(srv.URL, ":"):]
	for _, addr := range []string{"127.0.0.1", "0.0.0.0", "169.254.169.254"} {
		client := &http.Client{Transport: newTransport(nameServer(t, netip.MustParseAddr(addr))), Timeout: 5 * time.Second}
		resp, err := client.Get("http://cognito-idp.eu-central-1.amazonaws.com" + port)
		if err == nil {
			resp.Body.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "refusing to dial "+addr) {
			t.Errorf("%s: got %v, want it refused", addr, err)
		}
	}
	if got := reached.Load(); got != 0 {
		t.Errorf("%d requests reached this machine", got)
	}
	resp, err := (&http.Client{Transport: newTransport(nil)}).Get(srv.URL)
	if err != nil {
		t.Fatalf("a loopback address by itself: %v", err)
	}
	resp.Body.Close()
}

func TestDial_addresses(t *testing.T) { // case 42
	for _, tt := range []struct {
		address string
		local   bool
	}{
		{"127.0.0.1", true}, {"127.1.2.3", true}, {"::1", true}, {"::ffff:127.0.0.1", true},
		{"169.254.169.254", true}, {"169.254.170.2", true}, {"::ffff:169.254.169.254", true}, {"64:ff9b::a9fe:a9fe", true},
		{"fe80::1", true}, {"fe80::1%eth0", true}, {"fd00:ec2::254", true}, {"fd00:ec2::23", true},
		{"0.0.0.0", true}, {"::", true}, {"224.0.0.1", true}, {"255.255.255.255", true},
		{"3.120.0.1", false}, {"2a05:d014::1", false},
		{"10.0.0.1", false}, // a VPC endpoint of Cognito
	} {
		ip := netip.MustParseAddr(tt.address)
		err := control(func(ip netip.Addr) bool { return !isLocal(ip) })("tcp", netip.AddrPortFrom(ip, 443).String(), nil)
		if got := err != nil; got != tt.local {
			t.Errorf("%s: got refused %v, want %v", tt.address, got, tt.local)
		}
	}
}
