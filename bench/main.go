// Command bench runs the benchmarks that compare, ten times each, prints one
// table of medians and spread, and writes it as JSON:
//
//	go run ./bench [-o bench/results.json] [-count 10]
//
// The table's last column has the figures of the file as it was last committed.
// Most rows are ratios of two things that one benchmark measures in turns, since
// times of different machines, or of one machine on different days, do not
// compare.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// suites are the benchmarks to run: one `go test` each.
var suites = []struct{ pkg, bench, time string }{
	{"./functions/agent", "Answer|FirstDelta|Ask$", "40x"},
	{"./functions/agent", "Batch", "8x"},
	{"./functions/agent", "StuckRecord", "1x"},
	{"./functions/mcp-server", "AgainstPlain", "4x"},
	{"./functions/mcp-server", "Start", "5x"},
	{"./pkg/toolbox", "Call/.*/callers=1$", "1000x"},
	{"./pkg/toolbox", "Call/.*/callers=50", "500x"},
	{"./pkg/tokensource", "Token_warm|RoundTrip", "20000x"},
	{"./pkg/tokensource", "Token_cold", "5x"},
	{"./pkg/tokensource", "Fleet", "1x"},
	{"./pkg/converse", "Turn|TenTools|FiftyAtOnce", "20x"},
	{"./pkg/authorizer", "Check", "5000x"},
	{"./pkg/provision", "Create", "1x"},
	{"./pkg/localaws/cloudformation", "Project", "1x"},
	{"./pkg/doctor", "Examine", "10x"},
	{"./cmd/mcpauth", "Help", "5x"},
}

// plain are the units that mean something on one machine only. They are shown
// only for benchmarks without another unit.
var plain = []string{"ns/op", "B/op", "allocs/op", "MB/s"}

// Row is one figure of one benchmark.
type Row struct {
	Name   string  `json:"name"`
	Unit   string  `json:"unit"`
	Median float64 `json:"median"`
	Q1     float64 `json:"q1"`
	Q3     float64 `json:"q3"`
	Runs   int     `json:"runs"`
}

// Results is the content of the results file.
type Results struct {
	Date string `json:"date"`
	Go   string `json:"go"`
	CPUs int    `json:"cpus"`
	Rows []Row  `json:"rows"`
}

func main() {
	out := flag.String("o", "bench/results.json", "file to write; its committed version is what is compared with")
	count := flag.Int("count", 10, "runs of each benchmark")
	flag.Parse()
	if err := run(*out, *count); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(file string, count int) error {
	before, err := last(file)
	if err != nil {
		return fmt.Errorf("reading the last results: %w", err)
	}
	now := Results{Date: time.Now().UTC().Format(time.DateOnly), Go: runtime.Version(), CPUs: runtime.NumCPU()}
	for _, s := range suites {
		start := time.Now()
		output, err := exec.Command("go", "test", "-run", "^$", "-bench", s.bench, "-benchtime", s.time, "-count", strconv.Itoa(count), s.pkg).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s: %w\n%s", s.pkg, err, output)
		}
		found := rows(output)
		if len(found) == 0 {
			return fmt.Errorf("%s has no benchmark %q any more", s.pkg, s.bench)
		}
		now.Rows = append(now.Rows, found...)
		fmt.Fprintf(os.Stderr, "%s: %.0f s\n", s.pkg, time.Since(start).Seconds())
	}
	if err := printTable(now, before); err != nil {
		return err
	}
	text, err := json.MarshalIndent(now, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o644)
}

// last returns the results as last committed, so that two runs in a row have the
// same comparison. Without git it returns the file's present content.
func last(file string) (Results, error) {
	var r Results
	text, err := exec.Command("git", "show", "HEAD:./"+filepath.ToSlash(file)).Output()
	if err != nil {
		text, err = os.ReadFile(file)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	return r, err
}

// rows parses the output of go test for benchmarks.
// https://go.dev/design/14313-benchmark-format
func rows(output []byte) []Row {
	values := map[[2]string][]float64{}
	var order [][2]string
	for lines := bufio.NewScanner(bytes.NewReader(output)); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		name := strings.TrimPrefix(fields[0], "Benchmark")
		if i := strings.LastIndexByte(name, '-'); i > 0 {
			name = name[:i] // cut the GOMAXPROCS suffix
		}
		for i := 2; i+1 < len(fields); i += 2 {
			v, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				break
			}
			key := [2]string{name, fields[i+1]}
			if values[key] == nil {
				order = append(order, key)
			}
			values[key] = append(values[key], v)
		}
	}
	own := map[string]bool{} // benchmarks with units of their own
	for _, key := range order {
		own[key[0]] = own[key[0]] || !slices.Contains(plain, key[1])
	}
	var all []Row
	for _, key := range order {
		if slices.Contains(plain, key[1]) && own[key[0]] || key[1] == "B/op" || key[1] == "MB/s" {
			continue
		}
		v := slices.Sorted(slices.Values(values[key]))
		all = append(all, Row{key[0], key[1], quantile(v, 0.5), quantile(v, 0.25), quantile(v, 0.75), len(v)})
	}
	return all
}

// quantile returns a quantile of sorted values, interpolated between two of
// them.
func quantile(v []float64, q float64) float64 {
	at := q * float64(len(v)-1)
	low := int(at)
	if low+1 == len(v) {
		return v[low]
	}
	return v[low] + (at-float64(low))*(v[low+1]-v[low])
}

// printTable prints the figures beside the last committed ones.
func printTable(now, before Results) error {
	last := map[[2]string]Row{}
	for _, r := range before.Rows {
		last[[2]string{r.Name, r.Unit}] = r
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "benchmark\tunit\tmedian\tquartiles\tlast %s\n", before.Date)
	for _, r := range now.Rows {
		was := ""
		if l, ok := last[[2]string{r.Name, r.Unit}]; ok {
			was = number(l.Median)
			switch { // figures differ if their spreads do not overlap
			case r.Q1 > l.Q3:
				was += " (up)"
			case r.Q3 < l.Q1:
				was += " (down)"
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s - %s\t%s\n", r.Name, r.Unit, number(r.Median), number(r.Q1), number(r.Q3), was)
	}
	return w.Flush()
}

func number(v float64) string { return strconv.FormatFloat(v, 'g', 4, 64) }
