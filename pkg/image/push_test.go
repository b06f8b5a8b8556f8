package image_test

import (
	"context"
	"crypto/tls"
	"debug/elf"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"

	"agentcore-mcp-auth/pkg/image"
)

// handlerTransport is a registry without a network.
type handlerTransport struct{ http.Handler }

func (t handlerTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	if r.Body == nil {
		r.Body = http.NoBody
	}
	t.ServeHTTP(w, r)
	resp := w.Result()
	resp.Request = r
	return resp, nil
}

// A second push sends nothing.
func TestPush_again(t *testing.T) {
	img, err := image.New(tiny(elf.EM_AARCH64), image.Config{Name: "server"})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var seen []string // guarded by mu
	repository := newRegistry(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			seen = append(seen, r.Method)
			mu.Unlock()
			h.ServeHTTP(w, r)
		})
	}) + "/images"
	first, err := img.Push(t.Context(), image.Target{Repository: repository})
	if err != nil {
		t.Fatal(err)
	}
	seen = nil
	second, err := img.Push(t.Context(), image.Target{Repository: repository})
	if err != nil || second != first {
		t.Errorf("got %s, %v, want %s", second, err, first)
	}
	if !slices.Equal(seen, []string{"GET", "HEAD"}) {
		t.Errorf("pushed again it made the requests %q, want a greeting and a look", seen)
	}
}

// case 18: whichever request meets what may pass, in whatever form the registry
// says so, the image arrives; what will not pass ends at once.
func TestPush_faults(t *testing.T) {
	img, err := image.New(tiny(elf.EM_AARCH64), image.Config{Name: "server"})
	if err != nil {
		t.Fatal(err)
	}
	digest, _ := img.Digest()
	faults := map[string]http.HandlerFunc{
		"throttled":   func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) },
		"unavailable": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) },
		"own code": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusInternalServerError)
			io.WriteString(w, `{"errors":[{"code":"INTERNAL_ERROR","message":"an internal error"}]}`)
		},
		"cut off": nil,
	}
	for name, fault := range faults {
		for request := 1; ; request++ {
			n, started := 0, time.Time{}
			synctest.Test(t, func(t *testing.T) {
				store, mu := registry.New(registry.Logger(log.New(io.Discard, "", 0))), sync.Mutex{}
				served := handlerTransport{store}
				transport := roundTripper(func(r *http.Request) (*http.Response, error) {
					mu.Lock()
					n++
					hit := n == request
					mu.Unlock()
					switch {
					case hit && fault == nil:
						return nil, io.ErrUnexpectedEOF
					case hit:
						return handlerTransport{fault}.RoundTrip(r)
					}
					return served.RoundTrip(r)
				})
				started = time.Now()
				uri, err := img.Push(t.Context(), image.Target{Repository: "registry.example/images", Transport: transport})
				if err != nil || uri != "registry.example/images@"+digest {
					t.Errorf("%s at request %d: got %s, %v", name, request, uri, err)
				}
				if took := time.Since(started); took > time.Second {
					t.Errorf("%s at request %d: it took %v", name, request, took)
				}
			})
			if n < request {
				if request < 10 { // greeting, look, two blobs in four requests each but one, manifest
					t.Errorf("%s: a push has %d requests", name, n)
				}
				break
			}
		}
	}
	synctest.Test(t, func(t *testing.T) {
		n := 0
		_, err := img.Push(t.Context(), image.Target{Repository: "registry.example/images", Transport: roundTripper(func(*http.Request) (*http.Response, error) {
			n++
			return nil, &tls.CertificateVerificationError{Err: errors.New("unknown authority")}
		})})
		if err == nil || n != 1 {
			t.Errorf("a bad certificate: got %v after %d requests", err, n)
		}
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// case 18: an upload that the registry has lost is begun anew, and one that it
// loses each time is not blamed on the repository.
func TestPush_uploadLost(t *testing.T) {
	img, err := image.New(tiny(elf.EM_AARCH64), image.Config{Name: "server"})
	if err != nil {
		t.Fatal(err)
	}
	for _, method := range []string{http.MethodPatch, http.MethodPut} {
		for _, losses := range []int{1, 1000} {
			synctest.Test(t, func(t *testing.T) {
				store, mu, lost := registry.New(registry.Logger(log.New(io.Discard, "", 0))), sync.Mutex{}, 0
				served := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if mu.Lock(); r.Method == method && strings.Contains(r.URL.Path, "/blobs/uploads/") && lost < losses {
						lost++
						mu.Unlock()
						w.WriteHeader(http.StatusNotFound)
						io.WriteString(w, `{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN","message":"no such upload"}]}`)
						return
					}
					mu.Unlock()
					store.ServeHTTP(w, r)
				})
				_, err := img.Push(t.Context(), image.Target{Repository: "registry.example/images", Transport: handlerTransport{served}})
				if losses == 1 && err != nil {
					t.Errorf("%s: %v", method, err)
				} else if losses > 1 && (err == nil || strings.Contains(err.Error(), "make the repository")) {
					t.Errorf("%s, lost each time: got %v", method, err)
				}
			})
		}
	}
}

// case 6: of two pushes of one image at the same time, the one that comes too
// late for an immutable tag succeeds all the same.
func TestPush_race(t *testing.T) {
	img, err := image.New(tiny(elf.EM_AARCH64), image.Config{Name: "server"})
	if err != nil {
		t.Fatal(err)
	}
	late := 0
	repository := newRegistry(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodPut || !strings.Contains(r.URL.Path, "/manifests/") {
				h.ServeHTTP(w, r)
				return
			}
			late++
			h.ServeHTTP(httptest.NewRecorder(), r) // the other push's
			w.WriteHeader(http.StatusBadRequest)
			io.WriteString(w, `{"errors":[{"code":"TAG_INVALID","message":"The image tag already exists and cannot be overwritten because the tag is immutable."}]}`)
		})
	}) + "/images"
	if _, err := img.Push(t.Context(), image.Target{Repository: repository}); err != nil || late != 1 {
		t.Errorf("got %v after %d late manifests", err, late)
	}
}

// The library would fall back to plain http with a registry at a private
// address, password and all.
func TestPush_plainHTTP(t *testing.T) {
	img, err := image.New(tiny(elf.EM_AARCH64), image.Config{Name: "server"})
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"10.1.2.3:5000", "192.168.1.1", "registry.localhost:5000"} {
		_, err := img.Push(t.Context(), image.Target{Repository: host + "/images", Username: "me", Password: "canary-password", Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			if r.URL.Scheme != "https" {
				t.Errorf("%s %s went out", r.Method, r.URL)
			}
			return nil, &tls.CertificateVerificationError{Err: errors.New("unknown authority")}
		})})
		if err == nil || !strings.Contains(err.Error(), "plain http") {
			t.Errorf("%s: got %v", host, err)
		}
	}
}

// No printed form of a Target has its password.
func TestTarget_print(t *testing.T) {
	to := image.Target{Repository: "registry.example/images", Username: "me", Password: "canary-password"}
	var lines strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		fmt.Fprintf(&lines, verb+"\n", to)
		fmt.Fprintf(&lines, verb+"\n", &to)
	}
	slog.New(slog.NewTextHandler(&lines, nil)).Info("pushing", "to", to)
	slog.New(slog.NewJSONHandler(&lines, nil)).Info("pushing", "to", to)
	if got := lines.String(); strings.Contains(got, "canary") || strings.Contains(got, fmt.Sprintf("%x", "canary")) || !strings.Contains(got, to.Repository) {
		t.Errorf("got %s", got)
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
	host := newRegistry(t, func(http.Handler) http.Handler { // repeats what it was sent, at length
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.URL.Path == "/v2/":
				w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
				w.WriteHeader(http.StatusUnauthorized)
			case r.Method == http.MethodHead:
				w.WriteHeader(http.StatusNotFound)
			default:
				_, password, _ := r.BasicAuth()
				w.WriteHeader(http.StatusForbidden)
				fmt.Fprintf(w, "%s %s %s", password, r.Header.Get("Authorization"), strings.Repeat("x", 10<<10))
			}
		})
	})
	_, err = img.Push(t.Context(), image.Target{Repository: host + "/images", Username: "AWS", Password: canary})
	if err == nil || strings.Contains(err.Error(), canary) || strings.Contains(err.Error(), base64.StdEncoding.EncodeToString([]byte("AWS:"+canary))) ||
		!strings.Contains(err.Error(), "allow pushing") || len(err.Error()) > 2<<10 {
		t.Errorf("repeated: got %v", err)
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
