// Command run runs the official MCP conformance suite against the server and the
// client beside it, and judges the results. Every scenario of its table must
// pass with at least a given number of checks, and may fail exactly the checks
// that baseline-REVISION.yml lists. `make conformance` calls it; arguments
// select scenarios.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

func main() {
	var r runner
	flag.StringVar(&r.node, "node", "node", "Node, 22 or later")
	flag.StringVar(&r.suite, "suite", "", "the suite's dist/index.js")
	flag.StringVar(&r.server, "server", "", "the server under test")
	flag.StringVar(&r.client, "client", "", "the client under test")
	flag.StringVar(&r.baselines, "baselines", "conformance", "directory of baseline-REVISION.yml")
	flag.StringVar(&r.out, "out", "", "directory for the suite's results; emptied first")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := r.run(ctx, flag.Args(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		stop()
		os.Exit(1)
	}
}

type runner struct {
	node, suite, server, client, baselines, out string

	url string // of the server, once it is up
}

var errFailed = errors.New("the baseline files say which failures are known, and why")

// run runs the scenarios, as many at a time as there are processors, and writes
// a line for each.
func (r *runner) run(ctx context.Context, only []string, stdout io.Writer) error {
	all := scenarios()
	known := map[string]baseline{}
	for _, revision := range []string{rev2025, rev2026} {
		name := filepath.Join(r.baselines, "baseline-"+revision+".yml")
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if known[revision], err = parseBaseline(string(text)); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if key, ok := known[revision].unknown(revision, all); ok {
			return fmt.Errorf("%s: no %s scenario %s is run in this revision", name, key.side, key.scenario)
		}
	}
	if len(only) > 0 {
		all = slices.DeleteFunc(all, func(s scenario) bool { return !slices.Contains(only, s.name) })
	}
	if len(all) == 0 {
		return errors.New("no scenario has that name")
	}
	if err := os.RemoveAll(r.out); err != nil {
		return err
	}
	stop, err := r.start(ctx)
	if err != nil {
		return err
	}
	defer stop()

	type done struct {
		outcome
		err error
	}
	results := make([]chan done, len(all))
	places := make(chan struct{}, runtime.NumCPU())
	for i := range all {
		results[i] = make(chan done, 1)
		go func() {
			places <- struct{}{}
			defer func() { <-places }()
			o, err := r.play(ctx, all[i])
			results[i] <- done{o, err}
		}()
	}
	passed, failed := 0, 0
	for i, s := range all {
		d := <-results[i]
		v := judge(s, known[s.revision], d.outcome)
		if d.err != nil {
			v.wrong = []string{d.err.Error(), strings.TrimSpace(d.output)}
		}
		status, more := "ok  ", ""
		if v.known > 0 {
			more = fmt.Sprintf(", %d known failures", v.known)
		}
		passed++
		if len(v.wrong) > 0 {
			passed, failed, status = passed-1, failed+1, "FAIL"
		}
		fmt.Fprintf(stdout, "%s %s %s %-38s %2d checks%s\n", status, s.side, s.revision, s.name, v.passed, more)
		for _, text := range v.wrong {
			fmt.Fprintf(stdout, "       %s\n", text)
		}
	}
	fmt.Fprintf(stdout, "%d passed, %d failed\n", passed, failed)
	if failed > 0 {
		return fmt.Errorf("%w; the suite's results are in %s", errFailed, r.out)
	}
	return nil
}

// start starts the server under test and waits for its address. Its log goes to
// a file beside the results.
func (r *runner) start(ctx context.Context) (stop func(), err error) {
	if err := os.MkdirAll(r.out, 0o755); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(r.out, "server.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close() // the process has a copy
	cmd := exec.CommandContext(ctx, r.server)
	cmd.Stderr = log
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the server: %w", err)
	}
	stop = func() {
		cmd.Process.Kill()
		cmd.Wait()
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		stop()
		return nil, fmt.Errorf("the server said no address, see %s: %w", log.Name(), err)
	}
	r.url = strings.TrimSpace(line)
	return stop, nil
}

// play runs one scenario. Scenarios of extensions belong to no revision; the
// suite runs them only with --force.
func (r *runner) play(ctx context.Context, s scenario) (outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	out := filepath.Join(r.out, s.revision, s.side, s.name)
	args := []string{r.suite, s.side, "--scenario", s.name, "--spec-version", s.revision, "--force", "-o", out}
	if s.side == "server" {
		args = append(args, "--url", r.url)
	} else {
		args = append(args, "--command", r.client)
	}
	var printed bytes.Buffer
	cmd := exec.CommandContext(ctx, r.node, args...)
	cmd.Stdout, cmd.Stderr = &printed, &printed
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.Exited() {
		err = nil // judge decides, not the exit status
	}
	o := outcome{output: printed.String()}
	if err != nil {
		return o, fmt.Errorf("running the suite: %w", err)
	}
	o.checks, err = readChecks(out)
	return o, err
}

// readChecks reads the one checks.json below dir.
func readChecks(dir string) ([]check, error) {
	var checks []check
	found := 0
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Base(path) != "checks.json" {
			return err
		}
		found++
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return json.Unmarshal(text, &checks)
	})
	if err != nil {
		return nil, fmt.Errorf("reading the suite's results: %w", err)
	}
	if found != 1 {
		return nil, fmt.Errorf("the suite left %d results, want 1", found)
	}
	return checks, nil
}
