package main

import (
	"bufio"
	"bytes"
	"context"
	"debug/buildinfo"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"agentcore-mcp-auth/internal/testenv"
)

// binaries has the compiled command, as the image holds it.
var binaries string

func binary() string { return filepath.Join(binaries, "mcp-server") }

func TestMain(m *testing.M) { testenv.Main(m, &binaries, "functions/mcp-server") }

// process is a running server.
type process struct {
	*exec.Cmd
	url   string
	lines chan string // later log lines; they need not be read

	mu  sync.Mutex // guards log
	log bytes.Buffer
}

// logged returns what the process has logged so far.
func (p *process) logged() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// launch starts the binary on a free loopback port; env is its whole environment
// otherwise.
func launch(t testing.TB, env ...string) *process {
	t.Helper()
	p := &process{Cmd: exec.Command(binary()), lines: make(chan string, 10)}
	p.Env = append([]string{"HOST=127.0.0.1", "PORT=0"}, env...)
	p.Dir = "/"
	stderr, err := p.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Process.Kill() })
	r := bufio.NewReader(stderr)
	overdue := time.AfterFunc(30*time.Second, func() { p.Process.Kill() })
	defer overdue.Stop()
	line, err := r.ReadString('\n')
	var serving struct{ Msg, Addr string }
	if err != nil || json.Unmarshal([]byte(line), &serving) != nil || serving.Msg != "serving on" {
		t.Fatalf("first line is %q, %v, want where it serves", line, err)
	}
	go func() {
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				close(p.lines)
				return
			}
			p.mu.Lock()
			p.log.WriteString(line)
			p.mu.Unlock()
			select {
			case p.lines <- line:
			default:
			}
		}
	}()
	p.url = "http://" + serving.Addr
	return p
}

// stop sends a signal and returns how the process ended.
func (p *process) stop(t *testing.T, sig os.Signal) {
	t.Helper()
	if err := p.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
	for range p.lines { // Wait closes the pipe: everything is read first
	}
	if err := p.Wait(); err != nil {
		t.Errorf("%v: got %v, want exit status 0", sig, err)
	}
}

// memory returns a value of /proc/PID/status in kB.
func (p *process) memory(t testing.TB, field string) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Process.Pid))
	if err != nil {
		t.Skipf("no resident memory to be read here: %v", err)
	}
	m := regexp.MustCompile(`(?m)^` + field + `:\s+(\d+) kB`).FindSubmatch(status)
	if m == nil {
		t.Fatalf("no %s in %s", field, status)
	}
	n, _ := strconv.Atoi(string(m[1]))
	return n
}

const addCall = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add_numbers","arguments":{"a":9007199254740993,"b":1}}}`

func post(client *http.Client, url, body string) (int, string, error) {
	return postAs(client, "", url, body)
}

// postAs posts with a token, unless that is empty.
func postAs(client *http.Client, token, url, body string) (int, string, error) {
	req, err := http.NewRequest(http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(got), err
}

func TestServes(t *testing.T) {
	p := launch(t)
	for _, path := range []string{"/mcp", "/mcp/"} {
		status, body, err := post(http.DefaultClient, p.url+path, addCall)
		if err != nil || status != 200 || !strings.Contains(body, `"9007199254740994"`) {
			t.Errorf("%s: got %d %s, %v, want 9007199254740994", path, status, body, err)
		}
	}
	var fields struct {
		Msg, Tool, Outcome string
	}
	if line := <-p.lines; json.Unmarshal([]byte(line), &fields) != nil || fields.Msg != "request" || fields.Tool != "add_numbers" || fields.Outcome != "ok" {
		t.Errorf("got log line %s", line)
	}
	p.stop(t, os.Interrupt)
}

// case 121
func TestStartsFast(t *testing.T) {
	best := time.Hour
	for range 5 {
		start := time.Now()
		p := launch(t)
		status, body, err := post(http.DefaultClient, p.url+"/mcp", `{"jsonrpc":"2.0","id":1,"method":"ping","params":null}`)
		best = min(best, time.Since(start))
		if err != nil || status != 200 {
			t.Fatalf("got %d %s, %v", status, body, err)
		}
		p.Process.Kill()
	}
	t.Logf("start to first answer: %v", best)
	if best > 300*time.Millisecond {
		t.Errorf("got %v from start to first answer, want under 300ms", best)
	}
}

// neverAccepted reports whether a request ended because the server had stopped
// listening: the connection was refused, or the kernel reset it because it was
// still queued for the server to accept. A server that drops a request it has
// begun to read closes the connection properly, which is io.EOF.
func neverAccepted(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// Under load, SIGTERM loses no accepted call and the exit status is 0. case 120
func TestSIGTERM(t *testing.T) {
	t.Run("as on AgentCore", func(t *testing.T) {
		sigterm(t, launch(t, "LOG_LEVEL=error"), "")
	})
	t.Run("checking tokens", func(t *testing.T) {
		is := newIssuer(t)
		id, secret := is.client()
		sigterm(t, is.launch(id, "LOG_LEVEL=error"), is.token(id, secret, calc+"/invoke"))
	})
}

func sigterm(t *testing.T, p *process, token string) {
	var served, refused atomic.Int64
	var wg sync.WaitGroup
	var once sync.Once
	c := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}}
	for range 8 {
		wg.Go(func() {
			for {
				status, body, err := postAs(c, token, p.url+"/mcp", addCall)
				switch {
				case neverAccepted(err):
					return
				case err == nil && status == 200 && strings.Contains(body, `"9007199254740994"`):
					if served.Add(1) == 500 {
						once.Do(func() { p.Process.Signal(syscall.SIGTERM) })
					}
				case err == nil && status == 503:
					refused.Add(1)
				default:
					t.Errorf("got %d %s, %v", status, body, err)
					return
				}
			}
		})
	}
	wg.Wait()
	for range p.lines {
	}
	if err := p.Wait(); err != nil {
		t.Errorf("got %v, want exit status 0", err)
	}
	if served.Load() < 500 || refused.Load() == 0 {
		t.Errorf("got %d served, %d refused", served.Load(), refused.Load())
	}
}

// Bad settings are refused by name, all at once.
func TestSettings(t *testing.T) {
	const discovery = "AUTH_DISCOVERY_URL=https://idp.example/.well-known/openid-configuration"
	for _, tc := range []struct {
		env  []string
		want []string
	}{
		{[]string{"PORT=http"}, []string{"PORT"}},
		{[]string{"PORT=65536"}, []string{"PORT"}},
		{[]string{"PORT=-1"}, []string{"PORT"}},
		{[]string{"HOST=example.com"}, []string{"HOST"}},
		{[]string{"LOG_LEVEL=loud"}, []string{"LOG_LEVEL"}},
		{[]string{"MCP_ALLOWED_HOSTS=https://x"}, []string{"MCP_ALLOWED_HOSTS", "https://x"}},
		{[]string{"MCP_ALLOWED_HOSTS=a,,b"}, []string{"MCP_ALLOWED_HOSTS"}},
		{[]string{"PORT=x", "HOST=y", "LOG_LEVEL=z"}, []string{"PORT", "HOST", "LOG_LEVEL"}},
		{[]string{"HOST=192.0.2.1", "PORT=8000"}, []string{"HOST", "PORT"}}, // not an address of this machine

		// A server whose settings ask for a token check does not start without
		// one.
		{[]string{"AUTH_ALLOWED_CLIENTS=x"}, []string{"AUTH_DISCOVERY_URL is missing"}},
		{[]string{"AUTH_ALLOWED_SCOPES=x/y"}, []string{"AUTH_DISCOVERY_URL is missing"}},
		{[]string{"AUTH_RESOURCE=https://mcp.example/mcp"}, []string{"AUTH_DISCOVERY_URL is missing", "AUTH_ALLOWED_CLIENTS or AUTH_ALLOWED_SCOPES"}},
		{[]string{discovery}, []string{"AUTH_ALLOWED_CLIENTS or AUTH_ALLOWED_SCOPES"}},
		{[]string{"AUTH_DISCOVERY_URL="}, []string{"AUTH_DISCOVERY_URL is empty"}},
		{[]string{discovery, "AUTH_ALLOWED_CLIENTS=", "AUTH_ALLOWED_SCOPES= "}, []string{"AUTH_ALLOWED_CLIENTS is empty", "AUTH_ALLOWED_SCOPES is empty"}},
		{[]string{discovery, "AUTH_ALLOWED_CLIENTS=", "AUTH_ALLOWED_SCOPES=x/y"}, []string{"AUTH_ALLOWED_CLIENTS is empty"}},
		{[]string{discovery, "AUTH_ALLOWED_CLIENTS=a,,b"}, []string{"AUTH_ALLOWED_CLIENTS"}},
		{[]string{discovery, "AUTH_ALLOWED_SCOPES=x/y x/z"}, []string{"AUTH_ALLOWED_SCOPES"}},
		{[]string{"AUTH_DISCOVERY_URL=https://idp.example/pool", "AUTH_ALLOWED_CLIENTS=x"}, []string{"AUTH_DISCOVERY_URL", "openid-configuration"}},
		{[]string{"AUTH_DISCOVERY_URL=http://idp.example/.well-known/openid-configuration", "AUTH_ALLOWED_CLIENTS=x"}, []string{"AUTH_DISCOVERY_URL", "https"}},
		{[]string{discovery, "AUTH_ALLOWED_CLIENTS=x", "AUTH_RESOURCE=http://mcp.example/mcp"}, []string{"AUTH_RESOURCE", "https"}},
		{[]string{discovery, "AUTH_ALLOWED_CLIENTS=x", "AUTH_RESOURCE=https://mcp.example/mcp?x"}, []string{"AUTH_RESOURCE", "query"}},
		{[]string{"PORT=x", "AUTH_DISCOVERY_URL=idp", "AUTH_ALLOWED_CLIENTS=x"}, []string{"PORT", "AUTH_DISCOVERY_URL"}},
	} {
		cmd := exec.Command(binary())
		cmd.Env = tc.env
		out, err := cmd.CombinedOutput()
		exit := (*exec.ExitError)(nil)
		if !errors.As(err, &exit) || exit.ExitCode() != 1 {
			t.Errorf("%v: got %v, want exit status 1", tc.env, err)
		}
		for _, want := range tc.want {
			if !strings.Contains(string(out), want) {
				t.Errorf("%v: got %s, want %s named", tc.env, out, want)
			}
		}
	}
}

// Unset, the server listens where AgentCore looks for it.
func TestDefaults(t *testing.T) {
	set, err := read(func(string) (string, bool) { return "", false })
	if err != nil || set.addr != "0.0.0.0:8000" || set.hosts != nil || set.auth != nil {
		t.Errorf("got %+v, %v, want 0.0.0.0:8000, no hosts and no check of tokens", set, err)
	}
}

func TestRun_stops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var log bytes.Buffer
	env := map[string]string{"HOST": "127.0.0.1", "PORT": "0"}
	if err := run(ctx, func(name string) (string, bool) { v, ok := env[name]; return v, ok }, &log); err != nil {
		t.Errorf("got %v, want nil", err)
	}
}

// case 110, case 123
func TestMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("sends 400 MB and 40,000 requests")
	}
	p := launch(t, "LOG_LEVEL=warn")
	hammer(t, p.url, 500)
	idle := p.memory(t, "VmHWM")
	t.Logf("after 500 requests: VmRSS %d kB, VmHWM %d kB", p.memory(t, "VmRSS"), idle)

	for _, chunked := range []bool{false, true} {
		conn, err := net.Dial("tcp", p.url[len("http://"):])
		if err != nil {
			t.Fatal(err)
		}
		const size = 200 << 20
		fmt.Fprintf(conn, "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n")
		if chunked {
			fmt.Fprintf(conn, "Transfer-Encoding: chunked\r\n\r\n%x\r\n", size)
		} else {
			fmt.Fprintf(conn, "Content-Length: %d\r\n\r\n", size)
		}
		block := bytes.Repeat([]byte(" "), 1<<20)
		for range size / len(block) {
			if _, err := conn.Write(block); err != nil {
				break // the server has hung up, as it should
			}
		}
		conn.Close()
	}
	if got := p.memory(t, "VmHWM") - idle; got > 16<<10 {
		t.Errorf("two bodies of 200 MB: memory grew by %d kB, want under 16 MB", got)
	} else {
		t.Logf("two bodies of 200 MB: memory grew by %d kB", got)
	}

	before := p.memory(t, "VmRSS")
	hammer(t, p.url, 40000)
	if got := p.memory(t, "VmRSS") - before; got > 5<<10 {
		t.Errorf("40,000 initializes: memory grew by %d kB, want under 5 MB", got)
	} else {
		t.Logf("40,000 initializes: memory grew by %d kB", got)
	}
	p.stop(t, syscall.SIGTERM)
}

// A thousand silent connections do not slow the others down and take little
// memory. case 111
func TestIdleConnections(t *testing.T) {
	p := launch(t, "LOG_LEVEL=warn")
	hammer(t, p.url, 500)
	before := p.memory(t, "VmRSS")
	for range 1000 {
		conn, err := net.Dial("tcp", p.url[len("http://"):])
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	for range 20 {
		if status, body, err := post(http.DefaultClient, p.url+"/mcp", addCall); err != nil || status != 200 {
			t.Fatalf("got %d %s, %v, want 200", status, body, err)
		}
	}
	if got := p.memory(t, "VmRSS") - before; got > 24<<10 {
		t.Errorf("1,000 idle connections: memory grew by %d kB, want under 24 MB", got)
	} else {
		t.Logf("1,000 idle connections: memory grew by %d kB", got)
	}
}

// hammer sends n initializes over four connections, each under its own session
// id.
func hammer(t *testing.T, url string, n int) {
	t.Helper()
	const body = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"x","version":"1"}}}`
	var wg sync.WaitGroup
	for c := range 4 {
		wg.Go(func() {
			conn, err := net.Dial("tcp", url[len("http://"):])
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			r := bufio.NewReader(conn)
			for i := range n / 4 {
				fmt.Fprintf(conn, "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nMcp-Session-Id: session-%d-%d\r\nContent-Length: %d\r\n\r\n%s", c, i, len(body), body)
				resp, err := http.ReadResponse(r, nil)
				if err != nil || resp.StatusCode != 200 {
					t.Errorf("got %v, %v", resp, err)
					return
				}
				io.Copy(io.Discard, resp.Body)
			}
		})
	}
	wg.Wait()
}

// The image's binary needs nothing else, and the Dockerfile sets what AgentCore
// and a careful operator require. case 122
func TestImage(t *testing.T) {
	f, err := elf.Open(binary())
	if err != nil {
		t.Skipf("no ELF binary here: %v", err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			t.Error("the binary is linked dynamically")
		}
	}
	if f.Section(".symtab") != nil || f.Section(".debug_info") != nil {
		t.Error("the binary is not stripped")
	}
	// case 145: the binary lists its modules with their checksums.
	info, err := buildinfo.ReadFile(binary())
	if err != nil || len(info.Deps) == 0 {
		t.Fatalf("got modules %v, %v", info, err)
	}
	for _, m := range info.Deps {
		if m.Sum == "" {
			t.Errorf("module %s %s has no checksum", m.Path, m.Version)
		}
	}
	dockerfile, err := os.ReadFile("Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	_, final, _ := strings.Cut(string(dockerfile), "\nFROM scratch\n")
	for _, want := range []string{"COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt\n", "USER 65532:65532\n", "EXPOSE 8000\n", "ENV MCP_ALLOWED_HOSTS=*\n", "ENTRYPOINT [\"/mcp-server\"]\n"} {
		if !strings.Contains(final, want) {
			t.Errorf("the image's last stage lacks %q", want)
		}
	}
	deps, err := exec.Command("go", "list", "-deps", "-f", "{{if .Module}}{{if .Module.Main}}{{.Dir}}{{end}}{{end}}", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Dir(filepath.Dir(mustGetwd(t)))
	for _, dir := range strings.Fields(string(deps)) { // the build stage must copy it
		rel, err := filepath.Rel(root, dir)
		if err != nil {
			t.Fatal(err)
		}
		rel = filepath.ToSlash(rel)
		if !strings.HasPrefix(rel, "pkg/") && !strings.Contains(string(dockerfile), "\nCOPY "+rel+" "+rel+"\n") {
			t.Errorf("the build stage does not copy %s", rel)
		}
	}
	if !strings.Contains(string(dockerfile), "ARG TARGETARCH=arm64\n") {
		t.Error("the image is not built for arm64 unless told otherwise")
	}
}

func mustGetwd(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}
