package localaws

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// An event of an asynchronous invocation that fails is run twice more, or as
// often as was set, and no more once the stand-in is closed.
func TestRunEvent(t *testing.T) {
	dir := t.TempDir()
	runs, script := filepath.Join(dir, "runs"), filepath.Join(dir, "bootstrap")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho run >>"+runs+"\nexit 1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	failed := make(chan bool, 10)
	s := New(Config{Logger: slog.New(slog.NewTextHandler(writerFunc(func([]byte) { failed <- true }), &slog.HandlerOptions{Level: slog.LevelError}))})
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	f, err := s.StartFunction(t.Context(), FunctionConfig{Name: "f", Binary: script})
	if err != nil {
		t.Fatal(err)
	}
	event := invoked{function: f, name: "f", qualifier: latest}
	run := func() (tries int) {
		os.Remove(runs)
		s.funcs.runEvent(event, "id", []byte("{}"))
		b, err := os.ReadFile(runs)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(b), "run") / 2 // each try starts the process twice
	}
	s.funcs.retryAfter = []time.Duration{time.Nanosecond, time.Nanosecond}
	if got := run(); got != 3 {
		t.Errorf("without a setting: %d tries, want 3", got)
	}
	for most := range 3 {
		if err := s.SetRetries("f", latest, &most); err != nil {
			t.Fatal(err)
		}
		if got := run(); got != most+1 {
			t.Errorf("%d retries: %d tries", most, got)
		}
	}
	for _, most := range []int{-1, 3} {
		if s.SetRetries("f", latest, &most) == nil {
			t.Errorf("%d retries were taken", most)
		}
	}
	s.SetRetries("f", latest, new(0))
	s.SetRetries("f", latest, nil)
	if got := s.Retries("f", latest); got != 2 {
		t.Errorf("after the setting was removed: %d retries, want 2", got)
	}

	for len(failed) > 0 {
		<-failed
	}
	s.funcs.retryAfter = []time.Duration{time.Hour}
	ended := make(chan bool)
	go func() {
		s.funcs.runEvent(event, "id", []byte("{}"))
		close(ended)
	}()
	<-failed
	s.Close()
	<-ended
}

type writerFunc func([]byte)

func (f writerFunc) Write(p []byte) (int, error) {
	f(p)
	return len(p), nil
}
