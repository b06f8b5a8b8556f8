package credstore_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"agentcore-mcp-auth/pkg/credstore"
)

// slowStore is Parameter Store with one set, which can be slow, throttle or be
// empty.
type slowStore struct {
	credstore.API
	reads atomic.Int32

	mu      sync.Mutex // guards what follows
	latency time.Duration
	secret  string
	err     error
}

func (s *slowStore) GetParametersByPath(ctx context.Context, in *ssm.GetParametersByPathInput, _ ...func(*ssm.Options)) (*ssm.GetParametersByPathOutput, error) {
	s.reads.Add(1)
	s.mu.Lock()
	latency := s.latency
	s.mu.Unlock()
	select {
	case <-time.After(latency):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out := &ssm.GetParametersByPathOutput{}
	if s.secret != "" && s.err == nil {
		out.Parameters = []types.Parameter{{Name: aws.String(aws.ToString(in.Path) + credstore.ClientSecret), Value: aws.String(s.secret)}}
	}
	return out, s.err
}

func (s *slowStore) change(secret string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secret, s.err = secret, err
}

func (s *slowStore) slow(latency time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.latency = latency
}

func TestSet_oneReadForAll(t *testing.T) { // case 50
	synctest.Test(t, func(t *testing.T) {
		api := &slowStore{latency: time.Second, secret: "a"}
		set := (&credstore.Store{API: api}).Set("srv")
		gone, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Millisecond, cancel)
		if _, err := set.Get(gone); !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v, want the caller's own cancellation", err)
		}
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if c, err := set.Get(t.Context()); err != nil || c.ClientSecret.Reveal() != "a" {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if got := api.reads.Load(); got != 1 {
			t.Errorf("got %d reads for 101 callers, want 1", got)
		}
	})
}

func TestSet_ages(t *testing.T) { // case 50
	synctest.Test(t, func(t *testing.T) {
		api := &slowStore{secret: "a"}
		set := (&credstore.Store{API: api}).Set("srv")
		get := func(want string, reads int32) {
			t.Helper()
			c, err := set.Get(t.Context())
			if got := c.ClientSecret.Reveal(); err != nil || got != want || api.reads.Load() != reads {
				t.Errorf("got %q, %v after %d reads; want %q after %d", got, err, api.reads.Load(), want, reads)
			}
		}
		get("a", 1)
		api.change("b", nil)
		time.Sleep(4 * time.Minute)
		get("a", 1)
		time.Sleep(2 * time.Minute)
		get("b", 2)

		time.Sleep(time.Hour)
		api.change("c", &types.InternalServerError{})
		get("b", 3) // aged, while it cannot be read
		api.slow(time.Hour)
		start := time.Now()
		get("b", 4)
		if got := time.Since(start); got != 3*time.Second {
			t.Errorf("waited %v for a store that hangs, want 3s", got)
		}
		time.Sleep(10 * time.Second) // the read that hangs has ended
		api.slow(0)
		api.change("c", nil)
		get("c", 5)

		time.Sleep(time.Hour)
		api.change("", nil) // deleted
		if _, err := set.Get(t.Context()); !errors.Is(err, credstore.ErrNotFound) {
			t.Errorf("got %v, want ErrNotFound", err)
		}

		api.change("d", nil)
		get("d", 7)
		api.change("", nil)
		if _, err := set.Refresh(t.Context()); !errors.Is(err, credstore.ErrNotFound) {
			t.Errorf("got %v, want ErrNotFound", err)
		}
		if _, err := set.Get(t.Context()); !errors.Is(err, credstore.ErrNotFound) {
			t.Errorf("got %v, want ErrNotFound: what is known to be gone is not kept", err)
		}
	})
}

// A read that hangs ends by itself, and the next one is a new one.
func TestSet_hangingRead(t *testing.T) { // case 50
	synctest.Test(t, func(t *testing.T) {
		api := &slowStore{latency: time.Hour, secret: "a"}
		set := (&credstore.Store{API: api}).Set("srv")
		start := time.Now()
		if _, err := set.Get(t.Context()); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 10*time.Second {
			t.Errorf("got %v after %v, want a time limit of 10s", err, time.Since(start))
		}
		api.slow(0)
		if _, err := set.Get(t.Context()); err != nil {
			t.Errorf("a failed read was remembered: %v", err)
		}
	})
}

func TestSet_masked(t *testing.T) { // case 45
	set := (&credstore.Store{API: &slowStore{secret: "canary"}}).Set("srv")
	if _, err := set.Get(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("%v %+v %#v %s %d", set, set, set, set, struct{ s any }{set}); strings.Contains(got, "canary") {
		t.Errorf("the secret shows: %s", got)
	}
}
