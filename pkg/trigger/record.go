package trigger

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"
)

// record is a message or event that nobody waits for: its result is published,
// and its source is told whether to deliver it again.
type record struct {
	id     string // unique at its origin
	origin origin
	queue  string // records of the same one are worked on in order; empty: in any
	body   []byte // the request
	prompt string // asked instead of reading the body, unless it is empty
}

// result is what came of a record.
type result struct {
	answer  *Answer
	err     *Error
	ignored bool // it was an event of ours, and not answered
	left    bool // its source is to deliver it again

	key, claim string // in the ledger; empty: there is nothing to tell it
	published  bool
	again      bool // it was answered before; the answer is not known any more
}

// outcome is what the ledger keeps of a result. Without answer and error it was
// answered, and the answer was too large to be kept.
type outcome struct {
	Answer    *Answer `json:"answer,omitempty"`
	Error     *Error  `json:"error,omitempty"`
	Published bool    `json:"published"` // or there was no bus to publish on
}

// endsAtOnce is how many records of a batch are ended at once.
const endsAtOnce = 10

// minimum is the least time that a record is started with.
const minimum = time.Second

// work works on records, publishes their results and returns them. In an ordered
// queue nothing is done after a record that is left. It returns before ctx ends.
func (h *Handler) work(ctx context.Context, from source, records []record) []result {
	results := make([]result, len(records))
	asking, cancel := keepBack(ctx, publishReserve)
	defer cancel()

	var queues [][]int // indexes of records that go one after the other
	byName := map[string]int{}
	for i, r := range records {
		n, ok := byName[r.queue]
		if r.queue == "" || !ok {
			n = len(queues)
			byName[r.queue] = n
			queues = append(queues, nil)
		}
		queues[n] = append(queues[n], i)
	}
	limit := h.Parallel
	if limit <= 0 {
		limit = 5
	}
	slots := make(chan struct{}, limit)
	var wg sync.WaitGroup
	for _, queue := range queues {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			for n, i := range queue {
				if n > 0 && results[queue[n-1]].left {
					results[i] = heldBack()
					continue
				}
				results[i] = h.workOn(asking, records[i])
			}
		})
	}
	wg.Wait()

	h.publishAll(ctx, records, results)
	for _, queue := range queues { // a record whose result is not out holds its queue too
		for n, i := range queue[1:] {
			if results[queue[n]].left && !results[i].left {
				results[i].left, results[i].err = true, heldBack().err
			}
		}
	}
	h.endAll(ctx, from, records, results)
	return results
}

// heldBack is the result of a record behind one that is left.
func heldBack() result {
	return result{left: true, err: refuse(DeadlineExceeded, "held back: an earlier record of its group is not done")}
}

// workOn works on one record. It does not panic.
func (h *Handler) workOn(ctx context.Context, r record) (res result) {
	defer func() {
		if p := recover(); p != nil {
			res = result{key: res.key, claim: res.claim, left: true, err: panicked(p)}
		}
	}()
	fields := decodeObject(r.body)
	if isOwn(fields) {
		return result{ignored: true}
	}
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < minimum {
		return result{left: true, err: refuse(DeadlineExceeded, "no time was left to begin")}
	}
	if h.Ledger != nil {
		key := r.origin.Source + " " + r.origin.ARN + " " + r.id
		claim, kept, err := h.Ledger.Begin(ctx, key, sha256.Sum256(append([]byte(r.prompt), r.body...)), claimUntil(ctx))
		switch {
		case errors.Is(err, ErrAltered):
			return h.settle(result{err: refuse(InvalidRequest, "a record of the same id was answered before, and it said something else")})
		case errors.Is(err, ErrRunning):
			return result{left: true, err: refuse(DeadlineExceeded, "the same record is being worked on")}
		case err != nil:
			return result{left: true, err: internal(fmt.Errorf("asking the ledger: %w", err))}
		}
		if kept != nil {
			return h.recall(key, claim, kept)
		}
		res.key, res.claim = key, claim
	}
	req, refusal := r.request(fields)
	if refusal != nil {
		res.err = refusal
		return h.settle(res)
	}
	answer, failure := h.ask(ctx, req)
	if failure != nil {
		res.err = failure
	} else {
		res.answer = &answer
	}
	return h.settle(res)
}

// recall is the result of a record that was worked on before.
func (h *Handler) recall(key, claim string, kept []byte) result {
	var o outcome
	if err := json.Unmarshal(kept, &o); err != nil {
		return result{left: true, err: internal(fmt.Errorf("reading the ledger: %w", err))}
	}
	res := result{answer: o.Answer, err: o.Error, published: o.Published, again: o.Answer == nil && o.Error == nil}
	if !res.published {
		res.key, res.claim = key, claim
	}
	return h.settle(res)
}

func (r record) request(fields object) (Request, *Error) {
	if r.prompt != "" {
		return decodeRequest(object{"prompt": mustJSON(r.prompt)})
	}
	if fields == nil {
		return decodeBody(r.body)
	}
	return decodeRequest(fields)
}

func mustJSON(s string) json.RawMessage {
	raw, _ := json.Marshal(s) // a string always has a JSON form
	return raw
}

// settle decides whether a record is done. A permanent failure is done once it
// is published. Without a bus it is left, so that the source's dead-letter queue
// keeps it.
func (h *Handler) settle(res result) result {
	if res.err != nil && (!res.err.Code.permanent() || h.Results == nil) {
		res.left = true
	}
	return res
}

// claimUntil is when a claim may be taken over: when this invocation must be over.
func claimUntil(ctx context.Context) time.Time {
	if deadline, ok := ctx.Deadline(); ok {
		return deadline.Add(publishReserve)
	}
	return time.Now().Add(15 * time.Minute)
}

// publishAll publishes the results that are not yet out. One that cannot be
// published leaves its record to its source.
func (h *Handler) publishAll(ctx context.Context, records []record, results []result) {
	if h.Results == nil {
		return
	}
	ctx, cancel := keepBack(ctx, answerReserve)
	defer cancel()
	var details []detail
	var indexes []int
	for i, res := range results {
		if res.left || res.ignored || res.published {
			continue
		}
		details = append(details, detail{CorrelationID: records[i].id, Origin: records[i].origin, Answer: res.answer, Error: res.err})
		indexes = append(indexes, i)
	}
	if len(details) == 0 {
		return
	}
	for n, err := range h.Results.publish(ctx, details) {
		res := &results[indexes[n]]
		res.published = err == nil
		if err != nil {
			res.left, res.err = true, &Error{Code: InternalError, Message: "the result could not be published", Err: err}
		}
	}
}

// endAll ends the records, side by side and in what is left of the time: an
// invocation that ran into its timeout would lose what all of them came to.
func (h *Handler) endAll(ctx context.Context, from source, records []record, results []result) {
	ctx, cancel := keepBack(ctx, grace)
	defer cancel()
	slots := make(chan struct{}, endsAtOnce)
	var wg sync.WaitGroup
	for i := range results {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			h.endRecord(ctx, from, records[i], results[i])
		})
	}
	wg.Wait()
}

// endRecord tells the ledger and the log what came of a record. What the ledger
// does not take in is at worst answered twice.
func (h *Handler) endRecord(ctx context.Context, from source, r record, res result) {
	if res.err != nil && (!res.left || from == fromSQS) { // else it becomes the invocation's error, which is logged
		h.logFailure(ctx, from, res.err, "record", r.id, "origin", r.origin.ARN, "left", res.left)
	}
	if res.key == "" {
		return
	}
	var kept []byte
	// An answer is kept also when it could not be published: the next delivery
	// publishes it, and the model is not asked again.
	if res.answer != nil || !res.left {
		o := outcome{Answer: res.answer, Published: res.published || h.Results == nil}
		if res.answer == nil {
			o.Error = res.err
		}
		kept, _ = json.Marshal(o) // strings and numbers
	}
	err := h.Ledger.End(ctx, res.key, res.claim, kept)
	if errors.Is(err, ErrTooLarge) {
		// That it was answered is kept, unless nobody has the answer.
		kept = nil
		if !res.left {
			kept, _ = json.Marshal(outcome{Published: true})
		}
		err = h.Ledger.End(ctx, res.key, res.claim, kept)
	}
	if err != nil {
		h.logger().Warn("the ledger took no result", "record", r.id, "error", err)
	}
}
