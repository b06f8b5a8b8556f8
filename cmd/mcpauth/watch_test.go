package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A change of the source is built and then deployed. A failure is reported, and
// the next change is tried again. Changes of tests, and files that are only
// touched, do nothing.
func TestWatcher(t *testing.T) {
	root := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		path := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	write("functions/agent/main.go", "package main")
	write("pkg/x/x.go", "package x")
	write("internal/y/y.go", "package y")
	write("template.yaml", "Resources: {}")
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex // guards what follows
		var done []string
		var broken error
		note := func(what string) error {
			mu.Lock()
			defer mu.Unlock()
			done = append(done, what)
			if what == "build" {
				return broken
			}
			return nil
		}
		var log bytes.Buffer
		w := &watcher{
			root: root, log: &log,
			build:  func(context.Context) error { return note("build") },
			deploy: func(context.Context) error { return note("deploy") },
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- w.run(ctx) }()
		step := func(want ...string) {
			t.Helper()
			mu.Lock()
			done = nil
			mu.Unlock()
			time.Sleep(2 * watchEvery) // of the bubble's clock
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if strings.Join(done, " ") != strings.Join(want, " ") {
				t.Errorf("got %q, want %q", done, want)
			}
		}
		step()
		write("pkg/x/x.go", "package x // changed")
		step("build", "deploy")
		write("internal/y/y.go", "package y // changed")
		step("build", "deploy")
		write("pkg/x/x_test.go", "package x")
		write("pkg/x/notes.txt", "")
		step()
		breaks := func(err error) { mu.Lock(); defer mu.Unlock(); broken = err }
		breaks(errors.New("a typo"))
		write("functions/agent/more.go", "package main")
		step("build")
		breaks(nil)
		write("template.yaml", "Resources: {A: {}}")
		step("build", "deploy")
		if err := os.Remove(filepath.Join(root, "functions/agent/more.go")); err != nil {
			t.Fatal(err)
		}
		step("build", "deploy")
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if !strings.Contains(log.String(), "not built: a typo") {
			t.Errorf("got log %q", log.String())
		}
	})
}
