package main

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// watchEvery is how often the source is checked for changes.
const watchEvery = 500 * time.Millisecond

// watcher builds and deploys again when the source changes.
type watcher struct {
	root   string // of the repository
	build  func(context.Context) error
	deploy func(context.Context) error
	log    io.Writer
}

// newWatcher watches the repository that the stack's programs were built in.
func (s *stack) newWatcher(parameters map[string]string) (*watcher, error) {
	root := filepath.Dir(s.bin)
	if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
		return nil, fmt.Errorf("--watch: %s is not the repository; run the mcpauth that make build puts into its bin folder", root)
	}
	return &watcher{
		root: root, log: s.logs,
		build: func(ctx context.Context) error {
			cmd := exec.CommandContext(ctx, "make", "-s", "build")
			cmd.Dir, cmd.Stdout, cmd.Stderr = root, s.logs, s.logs
			cmd.WaitDelay = time.Second // for what make started, after make itself has ended
			return cmd.Run()
		},
		deploy: func(ctx context.Context) error { return s.deploy(ctx, parameters) },
	}, nil
}

// run watches until ctx ends. It reports what cannot be built or deployed, and
// leaves the stack as it is then.
func (w *watcher) run(ctx context.Context) error {
	seen, err := w.fingerprint()
	if err != nil {
		return err
	}
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now, err := w.fingerprint()
		if err != nil || now == seen { // a file may be gone while an editor saves it
			continue
		}
		seen = now
		start := time.Now()
		fmt.Fprintln(w.log, "watch: building")
		if err := w.build(ctx); err != nil {
			fmt.Fprintf(w.log, "watch: not built: %v\n", err)
			continue
		}
		if err := w.deploy(ctx); err != nil {
			fmt.Fprintf(w.log, "watch: not deployed: %v\n", err)
			continue
		}
		fmt.Fprintf(w.log, "watch: deployed in %.1f s\n", time.Since(start).Seconds())
	}
}

// fingerprint changes with the source: the Go files of the functions and of what
// they import, the template, and the module files.
func (w *watcher) fingerprint() (uint64, error) {
	sum := fnv.New64a()
	note := func(path string, info fs.FileInfo) {
		fmt.Fprintln(sum, path, info.Size(), info.ModTime().UnixNano())
	}
	for _, name := range []string{"template.yaml", "go.mod", "go.sum", "Makefile"} {
		if info, err := os.Stat(filepath.Join(w.root, name)); err == nil {
			note(name, info)
		}
	}
	var errs []error
	for _, dir := range []string{"functions", "internal", "pkg"} {
		errs = append(errs, filepath.WalkDir(filepath.Join(w.root, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			info, err := d.Info()
			if err == nil {
				note(path, info)
			}
			return err
		}))
	}
	return sum.Sum64(), errors.Join(errs...)
}
