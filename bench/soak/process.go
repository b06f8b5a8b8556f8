package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// child is a process that the stand-in started.
type child struct {
	pid  int
	name string // of its function, or else of its program
}

// children lists the child processes from /proc. Without /proc it returns none.
func children() []child {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	var all []child
	for _, path := range stats {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := strings.Cut(string(stat), ") ") // skip the name, which may contain anything
		fields := strings.Fields(rest)
		if len(fields) < 2 || fields[1] != strconv.Itoa(os.Getpid()) || fields[0] == "Z" {
			continue
		}
		dir := filepath.Dir(path)
		pid, _ := strconv.Atoi(filepath.Base(dir))
		exe, _ := os.Readlink(dir + "/exe")
		c := child{pid, filepath.Base(exe)}
		environ, _ := os.ReadFile(dir + "/environ")
		for v := range bytes.SplitSeq(environ, []byte{0}) {
			if name, ok := bytes.CutPrefix(v, []byte("AWS_LAMBDA_FUNCTION_NAME=")); ok {
				c.name = string(name)
			}
		}
		if c.name == "agent" {
			c.name = onAgentCore
		}
		all = append(all, c)
	}
	return all
}

// onAgentCore is the agent's container.
const onAgentCore = "agent on AgentCore"

// signal sends a signal to every process of a name.
func (s *stack) signal(name string, sig os.Signal) {
	for _, c := range children() {
		if c.name == name {
			if p, err := os.FindProcess(c.pid); err == nil {
				p.Signal(sig)
			}
		}
	}
}

// sample is a measurement of a process.
type sample struct {
	at                      time.Time
	mb                      float64 // resident memory
	descriptors, goroutines int
}

// life holds the measurements of one process.
type life struct {
	child
	samples []sample
}

// settled is the age from which a process's figures count.
const settled = 30 * time.Second

// watchProcesses samples the processes until ctx ends. The function that it
// returns gives the lives so far.
func watchProcesses(ctx context.Context, logs *logs) func() []*life {
	var mu sync.Mutex
	var lives []*life
	look := func() {
		mu.Lock()
		defer mu.Unlock()
		now := time.Now()
		for _, c := range append(children(), child{os.Getpid(), "stand-in and load"}) {
			s := sample{at: now, goroutines: logs.goroutines(c.name)}
			if c.pid == os.Getpid() {
				s.goroutines = runtime.NumGoroutine()
			}
			if s.mb = resident(c.pid); s.mb == 0 {
				continue
			}
			fds, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", c.pid))
			s.descriptors = len(fds)
			i := slices.IndexFunc(lives, func(l *life) bool { return l.child == c })
			if i < 0 {
				i = len(lives)
				lives = append(lives, &life{child: c})
			}
			lives[i].samples = append(lives[i].samples, s)
		}
	}
	go func() {
		for {
			look()
			select {
			case <-ctx.Done():
				return
			case <-time.After(5 * time.Second):
			}
		}
	}()
	return func() []*life {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(lives)
	}
}

// resident returns the memory of a process in MB, or 0 after its end.
func resident(pid int) float64 {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0
	}
	kb, _ := strconv.Atoi(fields[0])
	return float64(kb) / 1024
}

// logs reads what all processes write: it looks for what must not be in it, and
// for the goroutines that the Go runtime prints.
type logs struct {
	mu      sync.Mutex // guards what follows
	writers map[string]*logWriter
	secrets []string
	lines   int
	leaks   int
	dumps   []int // goroutines in each dump after SIGQUIT
}

func newLogs() *logs { return &logs{writers: map[string]*logWriter{}} }

// of returns the log of one process, or of several.
func (l *logs) of(name string) io.Writer {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.writers[name] == nil {
		l.writers[name] = &logWriter{all: l}
	}
	return l.writers[name]
}

// secret adds a value that no log may contain.
func (l *logs) secret(value string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if value != "" && !slices.Contains(l.secrets, value) {
		l.secrets = append(l.secrets, value)
	}
}

// goroutines returns the last count of a process's goroutines, or 0 if it prints
// none.
func (l *logs) goroutines(name string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if w := l.writers[name]; w != nil {
		return w.last
	}
	return 0
}

// logWriter splits what it gets into lines.
type logWriter struct {
	all           *logs
	rest          []byte
	counting      int // goroutines in the current list
	last          int // in the last complete one
	sinceSchedule bool
}

var (
	schedule  = regexp.MustCompile(`^SCHED \d+ms:`)
	scheduled = regexp.MustCompile(`^  G\d+: status=(\d+)`)
	dumped    = regexp.MustCompile(`^goroutine \d+ .*\[`)
	jwt       = regexp.MustCompile(`eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.`)
)

// dead is the status of a goroutine that has ended and may be used again.
// https://go.dev/src/runtime/runtime2.go (_Gdead)
const dead = "6"

func (w *logWriter) Write(p []byte) (int, error) {
	w.all.mu.Lock()
	defer w.all.mu.Unlock()
	w.rest = append(w.rest, p...)
	for {
		line, rest, ok := bytes.Cut(w.rest, []byte("\n"))
		if !ok {
			return len(p), nil
		}
		w.line(string(line))
		w.rest = rest
	}
}

func (w *logWriter) line(line string) {
	l := w.all
	switch {
	case schedule.MatchString(line):
		if w.sinceSchedule {
			w.last = w.counting
		}
		w.counting, w.sinceSchedule = 0, true
	case scheduled.MatchString(line):
		if scheduled.FindStringSubmatch(line)[1] != dead {
			w.counting++
		}
	case strings.HasPrefix(line, "SIGQUIT: quit"):
		l.dumps = append(l.dumps, 0)
	case dumped.MatchString(line) && len(l.dumps) > 0:
		l.dumps[len(l.dumps)-1]++
	default:
		l.lines++
	}
	if jwt.MatchString(line) || slices.ContainsFunc(l.secrets, func(s string) bool { return strings.Contains(line, s) }) {
		l.leaks++
	}
}
