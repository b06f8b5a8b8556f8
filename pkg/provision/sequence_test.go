package provision_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/cfn"

	"agentcore-mcp-auth/pkg/credstore"
	"agentcore-mcp-auth/pkg/customresource"
)

var (
	firstSeed = flag.Uint64("seed", 1, "seed of the first random sequence of events")
	playTime  = flag.Duration("play", 3*time.Second, "how long to play random sequences of events")
)

// TestSequences plays random sequences of what CloudFormation can send for two
// stacks with the same three servers: changes and replacements, failures at any
// call and the way back, the Delete of what was replaced or never came about,
// and events delivered more than once, also at the same time. After each step
// every server is as asked, and what the step was not about is as it was; at
// the end nothing is left.
func TestSequences(t *testing.T) {
	const side = 3
	started := time.Now()
	var seed atomic.Uint64
	seed.Store(*firstSeed)
	var steps atomic.Int64
	var all sync.WaitGroup
	for range side {
		all.Go(func() {
			for !t.Failed() && time.Since(started) < *playTime {
				s := seed.Add(1) - 1
				t.Run(fmt.Sprint("seed ", s), func(t *testing.T) { steps.Add(playSequence(t, s, 12)) })
			}
		})
	}
	all.Wait()
	t.Logf("%d sequences, %d steps", seed.Load()-*firstSeed, steps.Load())
}

// resource is what a stack knows of one of its resources.
type resource struct {
	stack, logicalID string
	id               string // physical; empty: not there
	props            map[string]any
}

// path is where the parameters of props are.
func pathOf(props map[string]any) string {
	prefix, _ := props["ParameterPrefix"].(string)
	if prefix == "" {
		prefix = credstore.DefaultPrefix
	}
	return prefix + "/" + props["McpName"].(string) + "/"
}

// sequence is the play of one seed.
type sequence struct {
	*world
	rand      *rand.Rand
	resources []*resource
	events    int
	broken    bool     // a call was, perhaps the one that gives a lock back: it runs out
	story     []string // what happened, for a failure
}

func playSequence(t *testing.T, seed uint64, n int) (steps int64) {
	w := newWorld(t)
	w.second()
	s := &sequence{world: w, rand: rand.New(rand.NewPCG(seed, 0))}
	defer func() {
		if t.Failed() {
			t.Logf("repeat with: go test ./pkg/provision -run TestSequences -seed %d\n%s", seed, strings.Join(s.story, "\n"))
		}
	}()
	for _, stack := range []string{stackA, stackB} {
		for _, name := range []string{"calc", "search", "notes"} {
			s.resources = append(s.resources, &resource{stack: stack, logicalID: strings.ToUpper(name[:1]) + name[1:]})
		}
	}
	for range n {
		r := s.resources[s.rand.IntN(len(s.resources))]
		switch {
		case r.id == "":
			s.create(r)
		case s.rand.IntN(4) == 0:
			s.delete(r)
		default:
			s.update(r)
		}
		steps++
		s.settled(r)
		if t.Failed() {
			return steps
		}
	}
	for _, r := range s.resources {
		if r.id != "" {
			s.delete(r)
		}
	}
	left := w.aws.Leftovers()
	if s.broken {
		left = slices.DeleteFunc(left, isLock)
	}
	if !slices.Equal(left, w.before) {
		t.Errorf("left over:\n%s\nwant\n%s", strings.Join(left, "\n"), strings.Join(w.before, "\n"))
	}
	return steps
}

// wish makes properties for r: every one may change, three of them the identity.
func (s *sequence) wish(r *resource) map[string]any {
	props := map[string]any{"ServiceToken": "x", "McpName": strings.ToLower(r.logicalID)}
	pick := func(name string, values ...string) {
		if v := values[s.rand.IntN(len(values))]; v != "" {
			props[name] = v
		}
	}
	pick("UserPoolId", s.pool, s.pool, s.other, "")
	pick("ParameterPrefix", "", "", "", "/team/x")
	pick("Scopes", "", "invoke", "read,write")
	pick("AccessTokenMinutes", "", "10")
	pick("SecretVersion", "", "1", "2", "3")
	return props
}

// taken reports whether another stack has what props ask for: the parameters,
// or the resource server's name in a pool that both were given.
func (s *sequence) taken(r *resource, props map[string]any) bool {
	return slices.ContainsFunc(s.resources, func(o *resource) bool {
		return o.stack != r.stack && o.id != "" && o.logicalID == r.logicalID &&
			(pathOf(o.props) == pathOf(props) || props["UserPoolId"] != nil && o.props["UserPoolId"] == props["UserPoolId"])
	})
}

func (s *sequence) event(r *resource, typ cfn.RequestType, id string, props, old map[string]any) cfn.Event {
	s.events++
	e := event(typ, id, props, old)
	e.StackID, e.LogicalResourceID, e.RequestID = r.stack, r.logicalID, fmt.Sprint("request-", s.events)
	return e
}

func (s *sequence) create(r *resource) {
	props := s.wish(r)
	e := s.event(r, cfn.RequestCreate, "", props, nil)
	res, broken := s.deliver(e, true)
	s.expect(res, broken, !s.taken(r, props))
	if res.Status == cfn.StatusFailed {
		s.remove(r, res.PhysicalResourceID, props)
		return
	}
	r.id, r.props = res.PhysicalResourceID, props
}

func (s *sequence) update(r *resource) {
	was, old := r.id, r.props
	props := s.wish(r)
	if s.rand.IntN(5) == 0 {
		props = maps.Clone(old)
	}
	res, broken := s.deliver(s.event(r, cfn.RequestUpdate, was, props, old), true)
	s.expect(res, broken, !s.taken(r, props))
	now := res.PhysicalResourceID
	if res.Status == cfn.StatusSuccess && s.rand.IntN(3) > 0 {
		r.id, r.props = now, props
		if now != was {
			s.remove(r, was, old)
		}
		return
	}
	// The way back, since this resource or another one failed.
	if res.Status == cfn.StatusFailed {
		if now != was {
			s.t.Errorf("a failed Update: got physical id %q, want %q still", now, was)
		}
		now = was
	}
	for again := true; again; { // until somebody has had it continued
		e := s.event(r, cfn.RequestUpdate, now, old, props)
		res, broken = s.deliver(e, again)
		s.expect(res, broken, true)
		again = res.Status == cfn.StatusFailed && !s.t.Failed()
	}
	if res.PhysicalResourceID != was {
		s.t.Errorf("after the way back: got physical id %q, want %q", res.PhysicalResourceID, was)
	}
	if now != was {
		s.remove(r, now, props)
	}
}

func (s *sequence) delete(r *resource) {
	s.remove(r, r.id, r.props)
	r.id, r.props = "", nil
}

// remove sends Delete until it succeeds: at the second time it must.
func (s *sequence) remove(r *resource, id string, props map[string]any) {
	res, broken := s.deliver(s.event(r, cfn.RequestDelete, id, props, nil), true)
	s.expect(res, broken, true)
	if res.Status == cfn.StatusFailed {
		res, _ = s.deliver(s.event(r, cfn.RequestDelete, id, props, nil), false)
		s.expect(res, false, true)
	}
}

// expect checks an answer. When a call was broken, failure is one too.
func (s *sequence) expect(res cfn.Response, broken, want bool) {
	s.t.Helper()
	if got := res.Status == cfn.StatusSuccess; got != want && (got || !broken) {
		s.t.Errorf("got %s %s, want success %t", res.Status, res.Reason, want)
	}
}

// deliver hands an event over once, or twice at the same time or in a row, and
// returns the one answer. With harm a call may be broken; broken says that one
// was.
func (s *sequence) deliver(e cfn.Event, harm bool) (res cfn.Response, broken bool) {
	copies, again := 1, 0
	switch n := s.rand.IntN(10); {
	case n < 2:
		copies = 2
	case n < 4:
		again = 1
	}
	s.story = append(s.story, fmt.Sprintf("%s of %s %s to %v from %v, %d at once, %d more", e.RequestType, e.StackID[len(e.StackID)-36:][:1], e.PhysicalResourceID, e.ResourceProperties, e.OldResourceProperties, copies, again))
	if harm && copies+again == 1 && s.rand.IntN(3) == 0 {
		f, k := faults[s.rand.IntN(len(faults))], s.rand.IntN(20)
		op, err := s.interruptRun(k, f.fault, func(ctx context.Context) error {
			res = s.answer(ctx, e)
			return nil
		})
		s.story = append(s.story, fmt.Sprintf("  %s at call %d %s: %s %v", f.name, k, op, res.Status, err))
		broken = op != ""
		s.broken = s.broken || broken
		return res, broken
	}
	answers := make([]cfn.Response, copies)
	var all sync.WaitGroup
	for i := range answers {
		all.Go(func() { answers[i] = s.answer(s.t.Context(), e) })
	}
	all.Wait()
	for range again {
		answers = append(answers, s.answer(s.t.Context(), e))
	}
	for _, a := range answers[1:] {
		if a.Status != answers[0].Status || a.PhysicalResourceID != answers[0].PhysicalResourceID || fmt.Sprint(a.Data) != fmt.Sprint(answers[0].Data) {
			s.t.Errorf("%s, delivered %d times: got %+v and %+v, want the same answer", e.RequestType, len(answers), answers[0], a)
		}
	}
	s.story = append(s.story, fmt.Sprintf("  %s %s %s", answers[0].Status, answers[0].PhysicalResourceID, answers[0].Reason))
	return answers[0], false
}

// answer is what CloudFormation gets for one delivery of e, which must be one
// answer without a secret. ctx is that of the work alone.
func (s *sequence) answer(ctx context.Context, e cfn.Event) cfn.Response {
	reply := s.aws.NewReply()
	e.ResponseURL = reply.URL
	reply.Expect(e)
	raw, err := json.Marshal(e)
	if err != nil {
		s.t.Error(err)
		return cfn.Response{}
	}
	serve := customresource.Wrap(func(_ context.Context, e cfn.Event) (string, map[string]any, error) {
		return s.handler.Handle(ctx, e)
	}, customresource.Options{Logger: slog.New(slog.DiscardHandler), AllowLoopback: true})
	if err := serve(s.t.Context(), raw); err != nil {
		s.t.Error(err)
		return cfn.Response{}
	}
	res, err := reply.Wait(s.t.Context())
	if err != nil || reply.Puts() != 1 {
		s.t.Errorf("%s: got %d answers, %v, want one", e.RequestType, reply.Puts(), err)
	}
	text, _ := json.Marshal(res)
	for _, secret := range s.secrets() {
		if strings.Contains(string(text), secret) {
			s.t.Errorf("%s: a secret of %d characters is in the answer", e.RequestType, len(secret))
		}
	}
	return res
}

// settled checks every resource after a step that was about r.
func (s *sequence) settled(r *resource) {
	for _, o := range s.resources {
		if o.id == "" {
			continue
		}
		path, check := pathOf(o.props), s.world.check
		if o.props["UserPoolId"] == nil { // to make the pool's signing key takes long
			check = s.checkSet
		}
		var scopes []string
		if list, ok := o.props["Scopes"].(string); ok {
			scopes = strings.Split(list, ",")
		}
		if err := check(path, scopes...); err != nil {
			s.t.Errorf("stack %s, after a step about %s of %s: %v", o.stack, r.logicalID, r.stack, err)
		}
		if want, ok := o.props["UserPoolId"]; ok && s.parameter(path, "userpool_id") != want {
			s.t.Errorf("%s: got user pool %s, want %s", path, s.parameter(path, "userpool_id"), want)
		}
	}
}
