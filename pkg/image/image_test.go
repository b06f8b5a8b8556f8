package image_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"agentcore-mcp-auth/pkg/image"
)

// program is a small static program, built for linux.
func program(t testing.TB, arch string) []byte {
	t.Helper()
	dir := t.TempDir()
	source := filepath.Join(dir, "main.go")
	if err := os.WriteFile(source, []byte("package main\n\nfunc main() { println(\"hello\") }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(dir, "program"), source)
	build.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+arch, "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	binary, err := os.ReadFile(filepath.Join(dir, "program"))
	if err != nil {
		t.Fatal(err)
	}
	return binary
}

// newRegistry is an empty registry; its URL has no scheme, as repositories are
// named.
func newRegistry(t testing.TB, wrap func(http.Handler) http.Handler) string {
	t.Helper()
	h := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	if wrap != nil {
		h = wrap(h)
	}
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://")
}

// pull reads an image back.
func pull(t testing.TB, uri string) v1.Image {
	t.Helper()
	ref, err := name.ParseReference(uri)
	if err != nil {
		t.Fatal(err)
	}
	img, err := remote.Image(ref)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// case 122: what is pulled back is for arm64, runs as nobody, is one static
// program and its certificates, nothing of it can be written, and it is the
// same when made again.
func TestImage(t *testing.T) {
	binary := program(t, "arm64")
	config := image.Config{Name: "server", Port: 8000, Env: map[string]string{"B": "2", "A": "1"}, Labels: map[string]string{"k": "v"}}
	img, err := image.New(binary, config)
	if err != nil {
		t.Fatal(err)
	}
	repository := newRegistry(t, nil) + "/stack/images"
	uri, err := img.Push(t.Context(), image.Target{Repository: repository})
	if err != nil {
		t.Fatal(err)
	}
	digest, _ := img.Digest()
	if uri != repository+"@"+digest {
		t.Errorf("got %s, want digest %s", uri, digest)
	}
	got := pull(t, uri)
	if err := validate.Image(got); err != nil {
		t.Error(err)
	}
	file, err := got.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	c := file.Config
	if file.OS != "linux" || file.Architecture != "arm64" || c.User != "65532:65532" || !slices.Equal(c.Entrypoint, []string{"/server"}) ||
		!slices.Equal(c.Env, []string{"A=1", "B=2"}) || c.Labels["k"] != "v" || len(c.ExposedPorts) != 1 {
		t.Errorf("got %s/%s %+v", file.OS, file.Architecture, c)
	}
	layers, err := got.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("%d layers, %v", len(layers), err)
	}
	content, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for r := tar.NewReader(content); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Mode&0o222 != 0 && h.Typeflag != tar.TypeDir || h.Uid != 0 || h.Gid != 0 || h.ModTime.Unix() != 0 {
			t.Errorf("%s has mode %o, owner %d:%d, time %v", h.Name, h.Mode, h.Uid, h.Gid, h.ModTime)
		}
		body, _ := io.ReadAll(r)
		files[h.Name] = string(body)
	}
	if files["server"] != string(binary) || strings.Count(files["etc/ssl/certs/ca-certificates.crt"], "BEGIN CERTIFICATE") < 100 || len(files) != 5 {
		t.Errorf("got %d files, %d bytes of program, %d bytes of certificates", len(files), len(files["server"]), len(files["etc/ssl/certs/ca-certificates.crt"]))
	}

	again, err := image.New(program(t, "arm64"), config)
	if err != nil {
		t.Fatal(err)
	}
	if other, _ := again.Digest(); other != digest {
		t.Errorf("made again it is %s, was %s", other, digest)
	}
	if other, err := image.New(program(t, "amd64"), config); err != nil {
		t.Error(err)
	} else if d, _ := other.Digest(); d == digest {
		t.Error("the image for amd64 is the same")
	}
}

func TestNew_refused(t *testing.T) {
	binary := program(t, "arm64")
	foreign := bytes.Clone(binary)
	foreign[18] = 243 // e_machine: RISC-V
	dynamic, err := os.ReadFile("/bin/sh")
	tests := []struct {
		name   string
		binary []byte
		config image.Config
		want   string
	}{
		{"no program", nil, image.Config{Name: "a"}, "not an ELF"},
		{"a script", []byte("#!/bin/sh\n"), image.Config{Name: "a"}, "not an ELF"},
		{"cut off", binary[:100], image.Config{Name: "a"}, "not an ELF"},
		{"no name", binary, image.Config{}, "name"},
		{"a path", binary, image.Config{Name: "../a"}, "name"},
		{"a port", binary, image.Config{Name: "a", Port: 70000}, "port 70000"},
		{"another machine", foreign, image.Config{Name: "a"}, "GOARCH=arm64"},
	}
	if err == nil && runtime.GOOS == "linux" {
		tests = append(tests, struct {
			name   string
			binary []byte
			config image.Config
			want   string
		}{"dynamic", dynamic, image.Config{Name: "a"}, "CGO_ENABLED=0"})
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := image.New(tt.binary, tt.config); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// A second push sends nothing, and what may pass is tried again.
func TestPush_again(t *testing.T) {
	img, err := image.New(program(t, "arm64"), image.Config{Name: "server"})
	if err != nil {
		t.Fatal(err)
	}
	var uploads, requests atomic.Int32
	repository := newRegistry(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if n := requests.Add(1); n == 2 || n == 5 || n == 9 {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			if r.Method == http.MethodPut {
				uploads.Add(1)
			}
			h.ServeHTTP(w, r)
		})
	}) + "/images"
	first, err := img.Push(t.Context(), image.Target{Repository: repository})
	if err != nil {
		t.Fatal(err)
	}
	sent := uploads.Load()
	second, err := img.Push(t.Context(), image.Target{Repository: repository})
	if err != nil || second != first {
		t.Errorf("got %s, %v, want %s", second, err, first)
	}
	if sent == 0 || uploads.Load() != sent {
		t.Errorf("%d uploads, then %d", sent, uploads.Load()-sent)
	}
}

// The registry's refusals say what to do, and no error has the password.
func TestPush_refused(t *testing.T) {
	img, err := image.New(program(t, "arm64"), image.Config{Name: "server"})
	if err != nil {
		t.Fatal(err)
	}
	const canary = "canary-password"
	for status, want := range map[int]string{
		http.StatusUnauthorized: "log in to the registry again",
		http.StatusForbidden:    "allow pushing",
		http.StatusNotFound:     "make the repository first",
	} {
		host := newRegistry(t, func(http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/v2/" {
					w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
					w.WriteHeader(http.StatusUnauthorized)
					return
				}
				if user, password, _ := r.BasicAuth(); user != "AWS" || password != canary {
					t.Errorf("%s %s came from %q", r.Method, r.URL.Path, user)
				}
				w.WriteHeader(status)
			})
		})
		_, err := img.Push(t.Context(), image.Target{Repository: host + "/images", Username: "AWS", Password: canary})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), canary) {
			t.Errorf("%d: got %v, want %q", status, err, want)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("the stack was cancelled"))
	if _, err := img.Push(ctx, image.Target{Repository: newRegistry(t, nil) + "/images"}); err == nil || !strings.Contains(err.Error(), "the stack was cancelled") {
		t.Errorf("cancelled: got %v", err)
	}
	if _, err := img.Push(t.Context(), image.Target{Repository: "not a repository"}); err == nil {
		t.Error("a repository that is none was taken")
	}
}

func Example() {
	binary, err := os.ReadFile("bin/mcp-server") // CGO_ENABLED=0 GOOS=linux GOARCH=arm64
	if err != nil {
		log.Fatal(err)
	}
	img, err := image.New(binary, image.Config{Name: "mcp-server", Port: 8000})
	if err != nil {
		log.Fatal(err)
	}
	uri, err := img.Push(context.Background(), image.Target{Repository: "registry.example.com/tools/mcp-server", Username: "me", Password: os.Getenv("TOKEN")})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(uri) // registry.example.com/tools/mcp-server@sha256:…
}
