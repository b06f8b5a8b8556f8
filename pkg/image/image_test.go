package image_test

import (
	"archive/tar"
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
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

// tiny is the smallest program there is: a header that says what it is for.
func tiny(machine elf.Machine) []byte {
	h := elf.Header64{Type: uint16(elf.ET_EXEC), Machine: uint16(machine), Version: uint32(elf.EV_CURRENT), Entry: 1, Ehsize: 64, Phentsize: 56, Shentsize: 64}
	copy(h.Ident[:], "\x7fELF\x02\x01\x01") // 64 bits, little-endian
	var b bytes.Buffer
	binary.Write(&b, binary.LittleEndian, h)
	return b.Bytes()
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
	foreign[elf.EI_OSABI] = byte(elf.ELFOSABI_FREEBSD)
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
		{"another machine", tiny(elf.EM_RISCV), image.Config{Name: "a"}, "GOARCH=arm64"},
		{"another system", foreign, image.Config{Name: "a"}, "ELFOSABI_FREEBSD"},
		{"too large", make([]byte, image.MaxBinary+1), image.Config{Name: "a"}, "at most"},
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

func FuzzNew(f *testing.F) {
	f.Add(tiny(elf.EM_AARCH64), "server")
	f.Add(tiny(elf.EM_X86_64)[:60], "a")
	f.Add([]byte("\x7fELF"), "")
	f.Fuzz(func(t *testing.T, binary []byte, name string) {
		if img, err := image.New(binary, image.Config{Name: name}); (img == nil) == (err == nil) {
			t.Errorf("got an image %v and %v", img != nil, err)
		}
	})
}

func Example() {
	binary := tiny(elf.EM_AARCH64) // instead of os.ReadFile("bin/mcp-server"), built with CGO_ENABLED=0 GOOS=linux GOARCH=arm64
	img, err := image.New(binary, image.Config{Name: "mcp-server", Port: 8000})
	if err != nil {
		log.Fatal(err)
	}
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://") // instead of registry.example.com

	uri, err := img.Push(context.Background(), image.Target{Repository: host + "/tools/mcp-server"})
	if err != nil {
		log.Fatal(err)
	}
	digest, err := img.Digest()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(uri == host+"/tools/mcp-server@"+digest)
	// Output: true
}
