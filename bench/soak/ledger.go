package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"agentcore-mcp-auth/pkg/converse"
	"agentcore-mcp-auth/pkg/localaws"
	"agentcore-mcp-auth/pkg/trigger"
)

// deadLetter is the code of a question that ended as a dead letter.
const deadLetter = "dead letter"

// codes are the errors that a caller can tell apart: the agent's own, Lambda's
// for a killed process, and AgentCore's for an error of a container that does
// not stream.
var codes = map[string]bool{
	string(trigger.InvalidRequest): true, string(trigger.RequestTooLarge): true, string(trigger.UnsupportedEvent): true,
	string(trigger.ConfigurationError): true, string(trigger.CredentialsUnavailable): true, string(trigger.TokenRefused): true,
	string(trigger.MCPAuthRefused): true, string(trigger.MCPUnavailable): true, string(trigger.ModelRefused): true,
	string(trigger.ModelThrottled): true, string(trigger.ModelUnavailable): true, string(trigger.ModelFailed): true,
	string(trigger.DeadlineExceeded): true, string(trigger.InternalError): true,
	"Runtime.ExitError": true, "RuntimeClientError": true, deadLetter: true,
}

// entry is what the ledger knows about one question.
type entry struct {
	question
	outcomes  int           // answers and errors so far
	took      time.Duration // until the first
	right     bool
	toolError bool   // the answer says that a tool failed
	code      string // of the error
}

// ledger records the outcome of each question.
type ledger struct {
	mu          sync.Mutex // guards what follows
	all         map[string]*entry
	notes       []string // the first unexpected events
	strangeness int
}

func newLedger() *ledger { return &ledger{all: map[string]*entry{}} }

func (l *ledger) ask(q question) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all[q.id] = &entry{question: q}
}

func (l *ledger) asked() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.all)
}

// strange notes something that must not happen.
func (l *ledger) strange(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.note(what)
}

func (l *ledger) note(what string) {
	if l.strangeness++; len(l.notes) < 10 {
		l.notes = append(l.notes, what)
	}
}

// outcome counts an answer or error of a question and returns the question's
// entry.
func (l *ledger) outcome(id string) *entry {
	e := l.all[id]
	if e == nil {
		l.note("an outcome of " + id + ", which was not asked")
		return &entry{}
	}
	if e.outcomes++; e.outcomes == 1 {
		e.took = time.Since(e.asked)
	}
	return e
}

func (l *ledger) failed(q question, code string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.outcome(q.id).code = code
}

func (l *ledger) answered(q question, payload []byte) {
	var answer trigger.Answer
	err := json.Unmarshal(payload, &answer)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.note(fmt.Sprintf("an answer that is none: %.200s", payload))
		return
	}
	l.judge(l.outcome(q.id), answer)
}

// judge compares an answer with the right one. An answer in the model's words
// for a failed tool or for lack of time is accepted; any other answer is wrong.
func (l *ledger) judge(e *entry, a trigger.Answer) {
	failed := slices.ContainsFunc(a.ToolCalls, func(c trigger.ToolCall) bool { return c.Error })
	switch {
	case a.SessionID != e.id:
		l.note(fmt.Sprintf("an answer to session %q in the place of %q's", a.SessionID, e.id))
	case a.Output == e.want:
		e.right = true
	case (failed || a.StopReason == converse.StopDeadline) && (strings.HasPrefix(a.Output, "The tool ") || strings.HasPrefix(a.Output, "I could not finish ")):
		e.toolError = true
	default:
		l.note(fmt.Sprintf("%s: want %q, got %.300q (%s)", e.way, e.want, a.Output, a.StopReason))
	}
}

// done records that a message was deleted or an event taken, so that its result
// must be on the bus.
func (l *ledger) done(q question) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all[q.id].outcomes == 0 {
		l.note(q.way + ": " + q.id + " was done with, and nothing is on the bus")
	}
}

// published reads the results in a request that puts events on the bus.
func (l *ledger) published(r localaws.Record) {
	if r.Service != "events" || r.Status != 200 {
		return
	}
	var in struct{ Entries []struct{ Detail string } }
	json.Unmarshal(r.RequestBody, &in)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, published := range in.Entries {
		var d struct {
			ID     string `json:"correlation_id"`
			Answer *trigger.Answer
			Error  *trigger.Error
		}
		if err := json.Unmarshal([]byte(published.Detail), &d); err != nil || d.Answer == nil && d.Error == nil {
			l.note(fmt.Sprintf("an event that is no result: %.200s", published.Detail))
			continue
		}
		if e := l.outcome(d.ID); d.Answer != nil {
			l.judge(e, *d.Answer)
		} else {
			e.code = string(d.Error.Code)
		}
	}
}

// perKill is how many results a killed process can have had in progress: a
// batch.
const perKill = 10

// Way sums up the questions that were asked in one way.
type Way struct {
	Way       string         `json:"way"`
	Asked     int            `json:"asked"`
	Right     int            `json:"right"`
	ToolError int            `json:"tool_error"` // the answer says that a tool failed
	Failed    int            `json:"failed"`
	Wrong     int            `json:"wrong"`
	Lost      int            `json:"lost"`
	Twice     int            `json:"twice"`
	P50       float64        `json:"p50_ms"`
	P99       float64        `json:"p99_ms"`
	Most      float64        `json:"most_ms"`
	Codes     map[string]int `json:"codes"`
}

// Process sums up the processes of one name.
type Process struct {
	Name        string  `json:"name"`
	Lives       int     `json:"lives"`
	Minutes     float64 `json:"minutes"` // length of the longest life; the next fields describe this life
	FirstMB     float64 `json:"first_mb"`
	LastMB      float64 `json:"last_mb"`
	MostMB      float64 `json:"most_mb"` // of all lives
	MBPerHour   float64 `json:"mb_per_hour"`
	Goroutines  [2]int  `json:"goroutines"` // first and last
	GPerHour    float64 `json:"goroutines_per_hour"`
	Descriptors [2]int  `json:"descriptors"`
}

// Report is the content of the report file.
type Report struct {
	Date      string         `json:"date"`
	Go        string         `json:"go"`
	CPUs      int            `json:"cpus"`
	Seconds   float64        `json:"seconds"`
	Rate      float64        `json:"rate"`
	Seed      uint64         `json:"seed"`
	Ways      []Way          `json:"ways"`
	Trouble   map[string]int `json:"trouble"`
	Processes []Process      `json:"processes"`
	Dumps     []int          `json:"mcp_server_goroutines"` // in each dump after SIGQUIT
	LogLines  int            `json:"log_lines"`
	Leaks     int            `json:"leaks"`
	Strange   int            `json:"strange"`
	Notes     []string       `json:"notes,omitempty"`
}

func (l *ledger) report(s *stack, lives []*life, took time.Duration, rate float64, seed uint64) *Report {
	r := &Report{
		Date: time.Now().UTC().Format(time.DateOnly), Go: runtime.Version(), CPUs: runtime.NumCPU(), Seconds: took.Round(time.Second).Seconds(), Rate: rate, Seed: seed,
		Trouble: s.faults.counted(), Processes: processes(lives),
	}
	s.logs.mu.Lock()
	r.LogLines, r.Leaks, r.Dumps = s.logs.lines, s.logs.leaks, s.logs.dumps
	s.logs.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	r.Notes, r.Strange = l.notes, l.strangeness
	for _, w := range ways {
		way := Way{Way: w.name, Codes: map[string]int{}}
		var took []time.Duration
		for _, e := range l.all {
			if e.way != w.name {
				continue
			}
			way.Asked++
			if e.outcomes > 0 {
				took = append(took, e.took)
			}
			switch {
			case e.outcomes == 0:
				way.Lost++
			case e.outcomes > 1:
				way.Twice++
			}
			switch {
			case e.outcomes == 0:
			case e.code != "":
				way.Failed++
				way.Codes[e.code]++
			case e.right:
				way.Right++
			case e.toolError:
				way.ToolError++
			default:
				way.Wrong++
			}
		}
		slices.Sort(took)
		way.P50, way.P99, way.Most = at(took, 0.5), at(took, 0.99), at(took, 1)
		r.Ways = append(r.Ways, way)
	}
	return r
}

// at returns a quantile of sorted times, in milliseconds.
func at(took []time.Duration, q float64) float64 {
	if len(took) == 0 {
		return 0
	}
	return float64(took[int(q*float64(len(took)-1))].Microseconds()) / 1000
}

func processes(lives []*life) []Process {
	byName := map[string]*Process{}
	longest := map[string]time.Duration{}
	for _, l := range lives {
		p := byName[l.name]
		if p == nil {
			p = &Process{Name: l.name}
			byName[l.name] = p
		}
		p.Lives++
		for _, s := range l.samples {
			p.MostMB = max(p.MostMB, s.mb)
		}
		counted := l.samples[min(len(l.samples)-1, int(settled/(5*time.Second))):]
		first, last := counted[0], counted[len(counted)-1]
		if lasted := last.at.Sub(l.samples[0].at); lasted >= longest[l.name] {
			longest[l.name] = lasted
			p.Minutes, p.FirstMB, p.LastMB = lasted.Minutes(), first.mb, last.mb
			p.Goroutines, p.Descriptors = [2]int{first.goroutines, last.goroutines}, [2]int{first.descriptors, last.descriptors}
			p.MBPerHour = slope(counted, func(s sample) float64 { return s.mb })
			p.GPerHour = slope(counted, func(s sample) float64 { return float64(s.goroutines) })
		}
	}
	var all []Process
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		all = append(all, *byName[name])
	}
	return all
}

// slope fits a line to one quantity of the samples by least squares, and returns
// its slope per hour.
func slope(samples []sample, of func(sample) float64) float64 {
	var n, x, y, xx, xy float64
	for _, s := range samples {
		h, v := s.at.Sub(samples[0].at).Hours(), of(s)
		n, x, y, xx, xy = n+1, x+h, y+v, xx+h*h, xy+h*v
	}
	if d := n*xx - x*x; d > 0 {
		return (n*xy - x*y) / d
	}
	return 0
}

func (r *Report) print(out io.Writer) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "way\tasked\tright\ttool failed\terror\twrong\tlost\ttwice\tp50 ms\tp99 ms\tmost ms\t")
	for _, v := range r.Ways {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%.0f\t%.0f\t%.0f\t\n", v.Way, v.Asked, v.Right, v.ToolError, v.Failed, v.Wrong, v.Lost, v.Twice, v.P50, v.P99, v.Most)
	}
	w.Flush()
	fmt.Fprintln(out)
	for _, v := range r.Ways {
		for _, code := range slices.Sorted(maps.Keys(v.Codes)) {
			fmt.Fprintf(out, "%s: %d %s\n", v.Way, v.Codes[code], code)
		}
	}
	fmt.Fprintln(out)
	for _, what := range slices.Sorted(maps.Keys(r.Trouble)) {
		fmt.Fprintf(out, "%6d %s\n", r.Trouble[what], what)
	}
	fmt.Fprintln(out)
	w = tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "process\tlives\tlongest, min\tMB first\tlast\tmost\tMB per hour\tgoroutines\tper hour\tdescriptors\t")
	for _, p := range r.Processes {
		var goroutines, mbPerHour, gPerHour string // empty: unknown, or the life was too short
		long := p.Minutes > 2
		if long {
			mbPerHour = fmt.Sprintf("%+.1f", p.MBPerHour)
		}
		if p.Goroutines[1] > 0 {
			goroutines = fmt.Sprintf("%d - %d", p.Goroutines[0], p.Goroutines[1])
			if long {
				gPerHour = fmt.Sprintf("%+.0f", p.GPerHour)
			}
		}
		fmt.Fprintf(w, "%s\t%d\t%.1f\t%.1f\t%.1f\t%.1f\t%s\t%s\t%s\t%d - %d\t\n", p.Name, p.Lives, p.Minutes, p.FirstMB, p.LastMB, p.MostMB, mbPerHour,
			goroutines, gPerHour, p.Descriptors[0], p.Descriptors[1])
	}
	w.Flush()
	fmt.Fprintf(out, "\ngoroutines of the MCP server each time it crashed: %v\n%d lines of logs, %d with a secret or a token\n", r.Dumps, r.LogLines, r.Leaks)
	for _, note := range r.Notes {
		fmt.Fprintln(out, "!", note)
	}
}

// verdict returns an error if something happened that must not. A result may be
// on the bus twice if a process was killed after publishing it and before
// recording it in the ledger: EventBridge itself promises delivery at least
// once. A caller that waits for an answer gets exactly one.
func (r *Report) verdict() error {
	var errs []error
	for _, w := range r.Ways {
		untyped := 0
		for code, n := range w.Codes {
			if !codes[code] {
				untyped += n
			}
		}
		twice := w.Twice
		if w.Way == byQueue || w.Way == byBus {
			twice = max(0, twice-perKill*r.Trouble[killed])
		}
		if w.Wrong+w.Lost+twice+untyped > 0 {
			errs = append(errs, fmt.Errorf("%s: %d wrong, %d lost, %d twice, %d errors without a code", w.Way, w.Wrong, w.Lost, w.Twice, untyped))
		}
	}
	if r.Leaks > 0 {
		errs = append(errs, fmt.Errorf("%d lines of logs have a secret or a token", r.Leaks))
	}
	if r.Strange > 0 && len(errs) == 0 {
		errs = append(errs, fmt.Errorf("%d strange things, the first: %s", r.Strange, r.Notes[0]))
	}
	return errors.Join(errs...)
}
