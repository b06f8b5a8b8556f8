package image

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// case 18: an upload that the registry stops taking ends, and can be begun anew.
func TestNewTransport_stalledUpload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		defer there.Close()
		own := newTransport(func(context.Context, string, string) (net.Conn, error) { return here, nil })
		go http.ReadRequest(bufio.NewReader(there)) // and no more than the head
		r, err := http.NewRequest(http.MethodPatch, "http://127.0.0.1/v2/images/blobs/uploads/1", strings.NewReader(strings.Repeat("x", 1<<20)))
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		_, err = own.RoundTrip(r)
		if !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != patience || !mayPass(err) {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
	})
}
