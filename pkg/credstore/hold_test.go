package credstore_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"agentcore-mcp-auth/pkg/credstore"
)

// case 19: while a set is held, nobody reads it but who writes it.
func TestStore_Hold(t *testing.T) {
	store, srv := newStore(t)
	ctx := t.Context()
	full := sample
	full.UserClientID, full.Username, full.Password = "people", "tester", credstore.NewSecret("password-canary")
	if err := store.Write(ctx, "calc", credstore.Credentials{}, full); err != nil {
		t.Fatal(err)
	}
	var waits []time.Duration
	release := 0 // with which wait, counted from 1
	store.Wait = func(_ context.Context, d time.Duration) error {
		if waits = append(waits, d); len(waits) == release {
			return store.Release(ctx, "calc")
		}
		return nil
	}
	for _, c := range []struct {
		name    string
		until   time.Duration
		release int
		waits   int
		want    error
	}{
		{"held throughout", time.Hour, 0, 4, credstore.ErrHeld},
		{"released meanwhile", time.Hour, 2, 2, nil},
		{"left behind", -time.Minute, 0, 0, nil},
	} {
		waits, release = nil, c.release
		if err := store.Hold(ctx, "calc", time.Now().Add(c.until)); err != nil {
			t.Fatal(err)
		}
		got, err := store.Read(ctx, "calc")
		if !errors.Is(err, c.want) || len(waits) != c.waits {
			t.Errorf("%s: got error %v after %d waits, want %v after %d", c.name, err, len(waits), c.want, c.waits)
		}
		if (got.ClientID == "") != (c.want != nil) {
			t.Errorf("%s: got client id %q with error %v", c.name, got.ClientID, err)
		}
		if got, err := store.Snapshot(ctx, "calc"); err != nil || got.ClientID != full.ClientID || got.Password != full.Password {
			t.Errorf("%s: snapshot: got %+v, %v", c.name, got, err)
		}
		if err := store.Release(ctx, "calc"); err != nil {
			t.Fatal(err)
		}
	}
	var total time.Duration
	waits, release = nil, 0
	for _, until := range []time.Duration{-time.Minute, time.Hour} { // the second takes the place of the first
		if err := store.Hold(ctx, "calc", time.Now().Add(until)); err != nil {
			t.Fatal(err)
		}
	}
	store.Read(ctx, "calc")
	for _, d := range waits {
		total += d
	}
	if total != 3*time.Second {
		t.Errorf("waited %v, want 3s", total)
	}
	cancelled, cancel := context.WithCancel(ctx)
	store.Wait = func(ctx context.Context, _ time.Duration) error { cancel(); return ctx.Err() }
	if _, err := store.Read(cancelled, "calc"); !errors.Is(err, credstore.ErrHeld) || !errors.Is(err, context.Canceled) {
		t.Errorf("caller who leaves: got %v, want ErrHeld and Canceled", err)
	}
	if err := store.Delete(ctx, "calc"); err != nil {
		t.Fatal(err)
	}
	if got := srv.Parameters(); len(got) != 1 { // the endpoint is not provisioning's
		t.Errorf("after Delete: got %d parameters, want the endpoint alone", len(got))
	}
}

// held is a Parameter Store whose one set is held for an hour.
type held struct{ credstore.API }

func (held) GetParametersByPath(_ context.Context, in *ssm.GetParametersByPathInput, _ ...func(*ssm.Options)) (*ssm.GetParametersByPathOutput, error) {
	return &ssm.GetParametersByPathOutput{Parameters: []types.Parameter{
		{Name: aws.String(*in.Path + credstore.ClientID), Value: aws.String("client")},
		{Name: aws.String(*in.Path + credstore.HeldUntil), Value: aws.String(time.Now().Add(time.Hour).Format(time.RFC3339))},
	}}, nil
}

// case 19: a reader waits for three seconds, and leaves at once when the caller
// does.
func TestStore_Hold_wait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &credstore.Store{API: held{}}
		start := time.Now()
		if _, err := store.Read(t.Context(), "calc"); !errors.Is(err, credstore.ErrHeld) || time.Since(start) != 3*time.Second {
			t.Errorf("got %v after %v, want ErrHeld after 3s", err, time.Since(start))
		}
		start = time.Now()
		gone := errors.New("the caller has left")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, gone)
		defer cancel()
		if _, err := store.Read(ctx, "calc"); !errors.Is(err, credstore.ErrHeld) || !errors.Is(err, gone) || time.Since(start) != time.Second {
			t.Errorf("got %v after %v, want ErrHeld and the caller's own reason after 1s", err, time.Since(start))
		}
	})
}
