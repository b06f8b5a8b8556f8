package provision_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/cfn"

	"agentcore-mcp-auth/pkg/localaws"
)

// scenario is an event that can be interrupted at each of its calls.
type scenario struct {
	name  string
	setUp func(w *world) cfn.Event // returns the event to interrupt
	// reached checks that the world is as the event asks, gone that nothing is left.
	reached func(w *world) error
	props   func(w *world) map[string]any // of the Delete at the end
}

// fault is one way in which a call goes wrong.
type fault struct {
	name   string
	mended bool // by the run itself
	fault  func(cancel func()) *localaws.Fault
}

// faults are the ways in which one call goes wrong. cancel ends the run, as
// the death of its process would.
var faults = []fault{
	{"refused", false, func(func()) *localaws.Fault {
		return &localaws.Fault{Status: 400, Type: "InvalidParameterException", Message: "no"}
	}},
	{"error before", true, func(func()) *localaws.Fault {
		return &localaws.Fault{Status: 500, Type: "InternalErrorException", Message: "oops"}
	}},
	{"error after", true, func(func()) *localaws.Fault {
		return &localaws.Fault{Status: 500, Type: "InternalErrorException", Message: "oops", After: true}
	}},
	{"throttled", true, func(func()) *localaws.Fault {
		return &localaws.Fault{Status: 400, Type: "TooManyRequestsException", Message: "slow down"}
	}},
	{"concurrent", true, func(func()) *localaws.Fault { // case 18
		return &localaws.Fault{Status: 400, Type: "ConcurrentModificationException", Message: "again"}
	}},
	{"reset before", true, func(func()) *localaws.Fault { return &localaws.Fault{Reset: true} }},
	{"reset after", true, func(func()) *localaws.Fault { return &localaws.Fault{Reset: true, After: true} }},
	{"crash before", false, func(cancel func()) *localaws.Fault { return &localaws.Fault{Reset: true, Then: cancel} }},
	{"crash after", false, func(cancel func()) *localaws.Fault { return &localaws.Fault{Reset: true, After: true, Then: cancel} }},
	{"hang", false, func(cancel func()) *localaws.Fault {
		time.AfterFunc(2*time.Millisecond, cancel) // stands for the deadline
		return &localaws.Fault{Delay: time.Minute}
	}},
}

// faultStep is the distance between the calls that are broken.
var faultStep = 1

// drastic are the faults that retries within the run do not mend.
func drastic() []fault {
	return slices.DeleteFunc(slices.Clone(faults), func(f fault) bool {
		return !slices.Contains([]string{"refused", "reset after", "crash before", "crash after"}, f.name)
	})
}

var scenarios = []scenario{
	{
		name:    "Create",
		setUp:   func(w *world) cfn.Event { return create(properties(w.pool, nil)) },
		reached: func(w *world) error { return w.check(path) },
		props:   func(w *world) map[string]any { return properties(w.pool, nil) },
	},
	{
		name: "Create with own pool",
		setUp: func(w *world) cfn.Event {
			return create(properties("", nil))
		},
		reached: func(w *world) error { return w.checkOnePool() },
		props:   func(w *world) map[string]any { return properties("", nil) },
	},
	{
		name: "Update of everything",
		setUp: func(w *world) cfn.Event {
			props := properties(w.pool, nil)
			id, _ := w.must(create(props))
			return event(cfn.RequestUpdate, id, updated(w), props)
		},
		reached: func(w *world) error { return w.check(path, "read", "write") },
		props:   updated,
	},
	{
		name: "Rotate",
		setUp: func(w *world) cfn.Event {
			props := properties(w.pool, map[string]any{"SecretVersion": "1"})
			id, _ := w.must(create(props))
			w.replaced = w.parameter(path, "cognito_secret")
			return event(cfn.RequestUpdate, id, properties(w.pool, map[string]any{"SecretVersion": "2"}), props)
		},
		reached: (*world).checkRotated,
		props:   func(w *world) map[string]any { return properties(w.pool, map[string]any{"SecretVersion": "2"}) },
	},
	{
		name: "Rotate again",
		setUp: func(w *world) cfn.Event {
			props := properties(w.pool, map[string]any{"SecretVersion": "1"})
			id, _ := w.must(create(props))
			props2 := properties(w.pool, map[string]any{"SecretVersion": "2"})
			w.must(event(cfn.RequestUpdate, id, props2, props))
			w.replaced = w.parameter(path, "cognito_secret")
			return event(cfn.RequestUpdate, id, properties(w.pool, map[string]any{"SecretVersion": "3"}), props2)
		},
		reached: (*world).checkRotated,
		props:   func(w *world) map[string]any { return properties(w.pool, map[string]any{"SecretVersion": "3"}) },
	},
	{
		name: "Move to another pool",
		setUp: func(w *world) cfn.Event {
			props := properties(w.second(), nil)
			id, _ := w.must(create(props))
			return event(cfn.RequestUpdate, id, properties(w.pool, nil), props)
		},
		reached: func(w *world) error {
			if got := w.parameter(path, "userpool_id"); got != w.pool {
				return fmt.Errorf("userpool_id: got %s, want %s", got, w.pool)
			}
			return w.check(path)
		},
		props: func(w *world) map[string]any { return properties(w.pool, nil) },
	},
}

func updated(w *world) map[string]any {
	return properties(w.pool, map[string]any{"Scopes": "read,write", "AccessTokenMinutes": "5", "KmsKeyId": "alias/other"})
}

// second is another user pool that was there before.
func (w *world) second() string {
	if w.other == "" {
		w.other = w.makePool("other")
		w.makeDomain(w.other, "elsewhere")
		w.before = w.aws.Leftovers()
	}
	return w.other
}

// checkOnePool checks a pool that was made here, without a token, since
// making its signing key takes long. A lock may be there that could not be given
// back.
func (w *world) checkOnePool() error {
	made := slices.DeleteFunc(w.aws.Leftovers(), isLock)
	if pools := len(made) - len(w.before); pools != 4+6 { // pool, domain, resource server, client; 6 parameters
		return fmt.Errorf("got %d things more than before, want 10: %q", pools, made)
	}
	return nil
}

func isLock(leftover string) bool { return strings.Contains(leftover, "/.lock/") }

// checkRotated checks that another secret is published and that the one before
// still works.
func (w *world) checkRotated() error {
	if w.parameter(path, "cognito_secret") == w.replaced {
		return errors.New("the secret is the one before")
	}
	if _, err := w.token(path, w.replaced); err != nil {
		return fmt.Errorf("the secret before: %w", err)
	}
	return w.check(path)
}

// interrupt handles e and breaks its call number k, counted from 0. It reports
// whether there was such a call, and what Handle answered.
func (w *world) interrupt(e cfn.Event, k int, fault func(func()) *localaws.Fault) (op, id string, err error) {
	op, err = w.interruptRun(k, fault, func(ctx context.Context) error {
		id, _, err = w.handler.Handle(ctx, e)
		return err
	})
	return op, id, err
}

func (w *world) interruptRun(k int, fault func(func()) *localaws.Fault, do func(context.Context) error) (op string, err error) {
	ctx, cancel := context.WithTimeout(w.t.Context(), 20*time.Second)
	defer cancel()
	var n atomic.Int32
	var broken atomic.Value
	w.aws.SetFault(func(rec localaws.Record) *localaws.Fault {
		if rec.Operation == "PUT reply" || int(n.Add(1))-1 != k {
			return nil
		}
		broken.Store(rec.Operation)
		return fault(cancel)
	})
	err = do(ctx)
	w.aws.SetFault(nil)
	op, _ = broken.Load().(string)
	return op, err
}

// TestFaults breaks every call of every scenario in every way; then comes the
// same event again, then Delete. Cases 7, 8, 15 and 18.
func TestFaults(t *testing.T) {
	var all sync.WaitGroup // at once, on all processors
	defer all.Wait()
	for _, s := range scenarios {
		all.Go(func() {
			t.Run(s.name, inWorld(func(t *testing.T, w *world) {
				for i, f := range faults {
					for k := i % faultStep; ; k += faultStep {
						e := s.setUp(w)
						op, id, err := w.interrupt(e, k, f.fault)
						at := fmt.Sprintf("%s, call %d, %s, which answered %v", f.name, k, op, err)
						if f.mended && err != nil || id == "" && err == nil {
							t.Errorf("%s: got physical id %q, want success", at, id)
						}
						if id, _, err = w.handler.Handle(t.Context(), e); err != nil {
							t.Fatalf("%s: the next event: %v", at, err)
						}
						if err := s.reached(w); err != nil {
							t.Fatalf("%s: after the next event: %v", at, err)
						}
						if e.PhysicalResourceID != "" && e.PhysicalResourceID != id { // a replacement
							w.must(event(cfn.RequestDelete, e.PhysicalResourceID, e.OldResourceProperties, nil))
							if err := s.reached(w); err != nil {
								t.Fatalf("%s: after the Delete of the old id: %v", at, err)
							}
						}
						w.must(event(cfn.RequestDelete, id, s.props(w), nil))
						if got := w.aws.Leftovers(); !slices.Equal(got, w.before) {
							t.Fatalf("%s: left over after Delete: %q", at, got)
						}
						if op == "" {
							break
						}
					}
				}
			}))
		})
	}
}

// TestFaults_rollback breaks every call as above; then CloudFormation rolls
// back: Delete with a fallback id after Create, the Update in the other
// direction after Update, and at last Delete. Cases 7, 8, 12 and 15.
func TestFaults_rollback(t *testing.T) {
	var all sync.WaitGroup // at once, on all processors
	defer all.Wait()
	for _, s := range scenarios {
		all.Go(func() {
			t.Run(s.name, inWorld(func(t *testing.T, w *world) {
				for i, f := range drastic() {
					for k := i % faultStep; ; k += faultStep {
						e := s.setUp(w)
						op, id, err := w.interrupt(e, k, f.fault)
						at := fmt.Sprintf("%s, call %d, %s, which answered %v", f.name, k, op, err)
						back := event(cfn.RequestDelete, "11112222-3333-4444-5555-666677778888", e.ResourceProperties, nil)
						if e.RequestType == cfn.RequestUpdate {
							if err != nil {
								id = e.PhysicalResourceID
							}
							old := event(cfn.RequestUpdate, id, e.OldResourceProperties, e.ResourceProperties)
							oldID, _ := w.must(old)
							if err := w.check(path); err != nil {
								t.Fatalf("%s: after the way back: %v", at, err)
							}
							if oldID != id {
								w.must(event(cfn.RequestDelete, id, e.ResourceProperties, nil))
								if err := w.check(path); err != nil {
									t.Fatalf("%s: after the Delete of the abandoned id: %v", at, err)
								}
							}
							back = event(cfn.RequestDelete, oldID, e.OldResourceProperties, nil)
						}
						w.must(back)
						if got := w.aws.Leftovers(); !slices.Equal(got, w.before) {
							t.Fatalf("%s: left over after Delete: %q", at, got)
						}
						if op == "" {
							break
						}
					}
				}
			}))
		})
	}
}

// TestFaults_delete breaks every call of a Delete; then comes Delete again.
func TestFaults_delete(t *testing.T) {
	var all sync.WaitGroup // at once, on all processors
	defer all.Wait()
	for _, pool := range []string{"given", "own"} {
		all.Go(func() {
			t.Run(pool, inWorld(func(t *testing.T, w *world) {
				for i, f := range faults {
					for k := i % faultStep; ; k += faultStep {
						props := properties(map[string]string{"given": w.pool}[pool], nil)
						id, _ := w.must(create(props))
						e := event(cfn.RequestDelete, id, props, nil)
						op, _, err := w.interrupt(e, k, f.fault)
						w.must(e)
						if got := w.aws.Leftovers(); !slices.Equal(got, w.before) {
							t.Fatalf("%s, call %d, %s, which answered %v: left over: %q", f.name, k, op, err, got)
						}
						if op == "" {
							break
						}
					}
				}
			}))
		})
	}
}

// case 15: a change of the key that stopped at any call is finished by the same
// event, and undone by the one back.
func TestHandle_keyBroken(t *testing.T) {
	w := newWorld(t)
	props := properties(w.pool, nil)
	for _, want := range []string{"alias/mine", "alias/aws/ssm"} {
		for k := 0; ; k++ {
			id, _ := w.must(create(props))
			to, from := properties(w.pool, map[string]any{"KmsKeyId": "alias/mine"}), props
			op, _, _ := w.interrupt(event(cfn.RequestUpdate, id, to, from), k, faults[0].fault)
			if want != "alias/mine" {
				to, from = from, to
			}
			w.must(event(cfn.RequestUpdate, id, to, from))
			if got := cmp.Or(w.aws.Parameters()[path+"cognito_secret"].KeyID, "alias/aws/ssm"); got != want {
				t.Errorf("broken at call %d, %s: got key %q, want %s", k, op, got, want)
			}
			w.must(event(cfn.RequestDelete, id, to, nil))
			if op == "" {
				break
			}
		}
	}
}
