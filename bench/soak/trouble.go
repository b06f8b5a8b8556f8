package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"syscall"
	"time"

	"agentcore-mcp-auth/pkg/localaws"
)

// faults makes requests fail, and counts how often each kind of trouble
// occurred.
type faults struct {
	mu     sync.Mutex         // guards what follows
	share  map[string]float64 // of a service's requests that are throttled
	counts map[string]int
}

// throttled holds each service's error for too many requests.
var throttled = map[string]localaws.Fault{
	"ssm":      {Status: http.StatusBadRequest, Type: "ThrottlingException", Message: "Rate exceeded"},
	"oauth":    {Status: http.StatusTooManyRequests, Type: "TooManyRequestsException", Message: "Rate exceeded"},
	"bedrock":  {Status: http.StatusTooManyRequests, Type: "ThrottlingException", Message: "Too many requests, please wait before trying again."},
	"dynamodb": {Status: http.StatusBadRequest, Type: "ThrottlingException", Message: "Rate of requests exceeds the allowed throughput."},
}

// of returns a throttling error for a share of requests, and counts requests for
// a token.
func (f *faults) of(r localaws.Record) *localaws.Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	if rand.Float64() < f.share[r.Service] {
		f.note("requests throttled by " + r.Service)
		fault := throttled[r.Service]
		return &fault
	}
	if r.Service == "oauth" {
		f.note("tokens asked for")
	}
	return nil
}

func (f *faults) note(what string) {
	if f.counts == nil {
		f.counts = map[string]int{}
	}
	f.counts[what]++
}

func (f *faults) count(what string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note(what)
}

func (f *faults) counted() map[string]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.counts)
}

// throttle makes a share of a service's requests fail from now on.
func (f *faults) throttle(service string, share float64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.share == nil {
		f.share = map[string]float64{}
	}
	f.share[service] = share
}

// model is the stand-in's model with some latency.
func (f *faults) model(req localaws.ConverseRequest) localaws.ConverseReply {
	reply := localaws.Arithmetic(req)
	reply.Latency = time.Duration(5+rand.IntN(10)) * time.Millisecond
	return reply
}

// killed is the name of the count of killed processes.
const killed = "function processes killed"

// trouble causes faults until ctx ends. Each period has the same kinds of
// faults; their form alternates.
func (s *stack) trouble(ctx context.Context, period time.Duration, progress io.Writer) {
	pool := s.resource("UserPool", "")
	for n := 0; ; n++ {
		// AgentCore refuses a token that has less than a minute left. In odd
		// periods tokens are renewed before that; in even ones the door refuses
		// them first.
		life := 66 * time.Second
		if n%2 == 1 {
			life = 84 * time.Second
		}
		crash, kill := syscall.SIGTERM, n%4+1
		if n%2 == 1 {
			crash = syscall.SIGQUIT // a Go program prints its goroutines and exits
		}
		steps := []struct {
			at float64 // of the period
			do func()
		}{
			{0, func() { s.aws.SetTokenLife(life) }},
			{0.02, func() { s.aws.RotateKeys(pool); s.faults.count("signing keys replaced") }},
			{0.06, func() { s.faults.throttle("bedrock", 0.4) }},
			{0.18, func() { s.faults.throttle("bedrock", 0) }},
			{0.22, func() { s.signal("mcp-server", crash); s.faults.count("MCP server ended") }},
			{0.30, func() { s.faults.throttle("ssm", 1) }},
			{0.31, func() {
				s.signal("agent-"+strconv.Itoa(kill), syscall.SIGKILL)
				s.faults.count(killed)
			}},
			{0.36, func() { s.faults.throttle("ssm", 0) }},
			{0.42, func() { s.replaceSecret(ctx, n, progress) }},
			{0.55, func() { s.faults.throttle("oauth", 0.7) }},
			{0.65, func() { s.faults.throttle("oauth", 0) }},
			{0.68, func() { s.aws.RotateKeys(pool); s.faults.count("signing keys replaced") }},
			{0.72, func() { s.faults.throttle("dynamodb", 0.3) }},
			{0.76, func() {
				s.signal("agent-"+strconv.Itoa(n%4+1), syscall.SIGKILL)
				s.faults.count(killed)
			}},
			{0.80, func() { s.faults.throttle("dynamodb", 0) }},
			{0.88, func() { s.signal("mcp-server", syscall.SIGKILL); s.faults.count("MCP server ended") }},
		}
		start := time.Now()
		for _, step := range steps {
			select {
			case <-ctx.Done():
				return
			case <-time.After(time.Until(start.Add(time.Duration(step.at * float64(period))))):
			}
			step.do()
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Until(start.Add(period))):
		}
		fmt.Fprintf(progress, "soak: period %d: %v\n", n+1, s.faults.counted())
	}
}

// calm ends all faults.
func (s *stack) calm() {
	for service := range throttled {
		s.faults.throttle(service, 0)
	}
	s.aws.SetTokenLife(0)
}

// replaceSecret replaces the client secret as an operator does: it deploys
// another SecretVersion.
func (s *stack) replaceSecret(ctx context.Context, n int, progress io.Writer) {
	if err := s.update(ctx, map[string]string{"SecretVersion": strconv.Itoa(n + 2)}); err != nil {
		if ctx.Err() == nil {
			fmt.Fprintln(progress, "soak:", err)
			s.faults.count("secrets that could not be replaced")
		}
		return
	}
	s.faults.count("client secrets replaced")
}
