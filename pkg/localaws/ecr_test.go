package localaws_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"agentcore-mcp-auth/pkg/localaws"
)

// registryClient is a logged-in client of an account's registry.
type registryClient struct {
	t    *testing.T
	host string
	auth authn.Authenticator
}

func logIn(t *testing.T, a *account) *registryClient {
	t.Helper()
	out, err := ecr.NewFromConfig(a.AWSConfig()).GetAuthorizationToken(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	data := out.AuthorizationData[0]
	plain, err := base64.StdEncoding.DecodeString(*data.AuthorizationToken)
	if err != nil {
		t.Fatal(err)
	}
	user, password, _ := strings.Cut(string(plain), ":")
	host, ok := strings.CutPrefix(*data.ProxyEndpoint, "http://")
	if !ok || time.Until(*data.ExpiresAt).Round(time.Hour) != 12*time.Hour {
		t.Errorf("got endpoint %s, until %v", *data.ProxyEndpoint, data.ExpiresAt)
	}
	return &registryClient{t, host, &authn.Basic{Username: user, Password: password}}
}

func (c *registryClient) ref(s string) name.Reference {
	c.t.Helper()
	ref, err := name.ParseReference(c.host + "/" + s)
	if err != nil {
		c.t.Fatal(err)
	}
	return ref
}

func (c *registryClient) options() []remote.Option {
	return []remote.Option{remote.WithAuth(c.auth), remote.WithContext(c.t.Context())}
}

func (c *registryClient) push(ref string, img v1.Image) error {
	return remote.Write(c.ref(ref), img, c.options()...)
}

// refusal is the status and the code that the registry refused with.
func refusal(err error) (int, string) {
	var refused *transport.Error
	if !errors.As(err, &refused) {
		return 0, ""
	}
	if len(refused.Errors) == 0 {
		return refused.StatusCode, ""
	}
	return refused.StatusCode, string(refused.Errors[0].Code)
}

func newImage(t *testing.T) (v1.Image, string) {
	t.Helper()
	img, err := random.Image(100, 1)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return img, digest.String()
}

func addRepository(t *testing.T, a *account, r localaws.Repository) string {
	t.Helper()
	uri, err := a.AddRepository(r)
	if err != nil {
		t.Fatal(err)
	}
	return uri
}

// Each repository has its own images and layers, which are deleted with it.
func TestRepository(t *testing.T) {
	a := newAccount(t)
	uri := addRepository(t, a, localaws.Repository{Name: "one"})
	addRepository(t, a, localaws.Repository{Name: "two"})
	if want := "000000000000.dkr.ecr.eu-central-1.amazonaws.com/one"; uri != want {
		t.Errorf("got %s, want %s", uri, want)
	}
	c := logIn(t, a)
	img, digest := newImage(t)
	second, secondDigest := newImage(t)
	for ref, img := range map[string]v1.Image{"one:a": img, "one:b": img, "one@" + secondDigest: second} {
		if err := c.push(ref, img); err != nil {
			t.Fatalf("%s: %v", ref, err)
		}
	}
	if got := a.Images("one"); !slices.Equal(got, []string{"a", "b", secondDigest}) {
		t.Errorf("got images %q", got)
	}
	if got := a.Leftovers(); !slices.Contains(got, "image one:a") || !slices.Contains(got, "repository two") {
		t.Errorf("got leftovers %q", got)
	}
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	layer, err := layers[0].Digest()
	if err != nil {
		t.Fatal(err)
	}
	blob := func(repository string) int {
		t.Helper()
		req, err := http.NewRequest("HEAD", a.URL()+"/v2/"+repository+"/blobs/"+layer.String(), nil)
		if err != nil {
			t.Fatal(err)
		}
		config, err := c.auth.Authorization()
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth(config.Username, config.Password)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	if one, two := blob("one"), blob("two"); one != 200 || two != 404 {
		t.Errorf("the layer: got %d where it was pushed, %d in the other repository", one, two)
	}

	a.RemoveRepository("one")
	a.RemoveRepository("one")
	if _, err := remote.Head(c.ref("one@"+digest), c.options()...); err == nil {
		t.Error("an image outlived its repository")
	}
	addRepository(t, a, localaws.Repository{Name: "one"})
	_, err = remote.Head(c.ref("one@"+digest), c.options()...)
	if status, _ := refusal(err); status != 404 || len(a.Images("one")) != 0 || blob("one") != 404 {
		t.Errorf("a new repository of the name: got %v, images %q, layer %d", err, a.Images("one"), blob("one"))
	}
	a.RemoveRepository("one")
	a.RemoveRepository("two")
	if left := a.Leftovers(); len(left) != 0 {
		t.Errorf("left over: %q", left)
	}
}

func TestAddRepository_refused(t *testing.T) {
	a := newAccount(t)
	addRepository(t, a, localaws.Repository{Name: "team/tools.mcp_server-2"})
	for _, name := range []string{"", "a", "A", "a--b", "a__b", "a//b", "/a", "a/", "-ab", "a b", "team/tools.mcp_server-2", strings.Repeat("a", 257)} {
		if uri, err := a.AddRepository(localaws.Repository{Name: name}); err == nil {
			t.Errorf("%q: got %s", name, uri)
		}
	}
}

// PutImage's rules: an immutable tag can be pushed once, an image needs its
// layers in the repository, and a digest must be the manifest's.
func TestPutImage_refused(t *testing.T) {
	a := newAccount(t)
	addRepository(t, a, localaws.Repository{Name: "fixed", ImmutableTags: true})
	addRepository(t, a, localaws.Repository{Name: "moving"})
	c := logIn(t, a)
	img, digest := newImage(t)
	other, otherDigest := newImage(t)
	if err := errors.Join(c.push("fixed:a", img), c.push("moving:a", img), c.push("moving:a", other), c.push("fixed@"+otherDigest, other)); err != nil {
		t.Fatal(err)
	}
	if got := a.Images("moving"); !slices.Equal(got, []string{"a", digest}) {
		t.Errorf("after the tag was moved: got images %q", got)
	}
	put := func(ref string, img remote.Taggable) func() error {
		return func() error { return remote.Put(c.ref(ref), img, c.options()...) }
	}
	stranger, _ := newImage(t)
	for _, tt := range []struct {
		name   string
		do     func() error
		status int
		code   string
	}{
		{"immutable tag, another image", put("fixed:a", other), 400, "TAG_INVALID"},
		{"immutable tag, the same image", put("fixed:a", img), 400, "TAG_INVALID"},
		{"without layers", put("moving:b", stranger), 404, "BLOB_UNKNOWN"},
		{"another's digest", put("moving@"+otherDigest, img), 400, "DIGEST_INVALID"},
		{"no manifest", put("moving:b", rawManifest(`{"layers":"hello"}`)), 400, "MANIFEST_INVALID"},
		{"no repository", func() error { return c.push("nowhere:a", img) }, 404, "NAME_UNKNOWN"},
		{"a list of tags", func() error { _, err := remote.List(c.ref("fixed:a").Context(), c.options()...); return err }, 501, "UNSUPPORTED"},
	} {
		if status, code := refusal(tt.do()); status != tt.status || code != tt.code {
			t.Errorf("%s: got %d %s, want %d %s", tt.name, status, code, tt.status, tt.code)
		}
	}
	// Of many concurrent pushes, one gets an immutable tag.
	var wg sync.WaitGroup
	var mu sync.Mutex
	taken := 0
	for range 8 {
		wg.Go(func() {
			if err := put("fixed:b", img)(); err == nil {
				mu.Lock()
				taken++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if taken != 1 {
		t.Errorf("%d requests got the immutable tag", taken)
	}
}

type rawManifest string

func (m rawManifest) RawManifest() ([]byte, error) { return []byte(m), nil }

// The registry's password is valid for twelve hours, and nothing else is valid.
func TestRegistryPassword(t *testing.T) {
	a := newAccount(t)
	addRepository(t, a, localaws.Repository{Name: "one"})
	c := logIn(t, a)
	img, _ := newImage(t)
	if err := c.push("one:a", img); err != nil {
		t.Fatal(err)
	}
	anonymous := &registryClient{t, c.host, authn.Anonymous}
	wrong := &registryClient{t, c.host, &authn.Basic{Username: "AWS", Password: "wrong"}}
	for name, c := range map[string]*registryClient{"anonymous": anonymous, "wrong": wrong} {
		if status, _ := refusal(c.push("one:b", img)); status != 401 {
			t.Errorf("%s: got %d", name, status)
		}
	}
	a.shift.Store(int64(12*time.Hour + time.Minute))
	_, err := remote.Image(c.ref("one:a"), c.options()...)
	if status, code := refusal(err); status != 403 || code != "DENIED" || !strings.Contains(err.Error(), "expired") {
		t.Errorf("after twelve hours: got %v", err)
	}
	// go-containerregistry's own client would not send such a tag.
	a.shift.Store(0)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://"+c.host+"/v2/one/manifests/"+strings.Repeat("x", 129), strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	basic := c.auth.(*authn.Basic)
	req.SetBasicAuth(basic.Username, basic.Password)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if body, _ := io.ReadAll(res.Body); res.StatusCode != 400 || !strings.Contains(string(body), "TAG_INVALID") {
		t.Errorf("a tag of 129 characters: got %d %s", res.StatusCode, body)
	}
	// Layers are too large to be kept.
	for _, r := range a.Records() {
		if strings.Contains(r.Path, "/blobs/") && len(r.RequestBody)+len(r.ResponseBody) > 0 {
			t.Errorf("%s %s: %d and %d bytes are kept", r.Method, r.Path, len(r.RequestBody), len(r.ResponseBody))
		}
	}
}

// case 122: an image is unpacked below its folder or not at all, and only if
// AgentCore would run it.
func TestUnpackImage(t *testing.T) {
	a := newAccount(t)
	uri := addRepository(t, a, localaws.Repository{Name: "one"})
	c := logIn(t, a)
	build := func(arch, entry string, files ...tar.Header) v1.Image {
		t.Helper()
		var archive bytes.Buffer
		w := tar.NewWriter(&archive)
		for _, h := range files {
			h.Mode = 0o555
			if err := w.WriteHeader(&h); err != nil {
				t.Fatal(err)
			}
			io.WriteString(w, strings.Repeat("x", int(h.Size)))
		}
		w.Close()
		layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive.Bytes())), nil })
		if err != nil {
			t.Fatal(err)
		}
		img, err := mutate.AppendLayers(empty.Image, layer)
		if err != nil {
			t.Fatal(err)
		}
		file, err := img.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		file.OS, file.Architecture, file.Config.Entrypoint = "linux", arch, []string{entry}
		if entry == "" {
			file.Config.Entrypoint = nil
		}
		if img, err = mutate.ConfigFile(img, file); err != nil {
			t.Fatal(err)
		}
		return img
	}
	program := tar.Header{Name: "server", Typeflag: tar.TypeReg, Size: 3}
	for tag, tt := range map[string]struct {
		img  v1.Image
		want string // in the refusal
	}{
		"good":     {build("arm64", "/server", program), ""},
		"arch":     {build("riscv64", "/server", program), "linux/arm64"},
		"entry":    {build("arm64", "", program), "entry point"},
		"above":    {build("arm64", "/server", tar.Header{Name: "../server", Typeflag: tar.TypeReg, Size: 3}), "unpacking"},
		"link":     {build("arm64", "/server", tar.Header{Name: "server", Typeflag: tar.TypeSymlink, Linkname: "/bin/sh"}), "neither a file nor a folder"},
		"whiteout": {build("arm64", "/server", program, tar.Header{Name: ".wh.server", Typeflag: tar.TypeReg}), ".wh.server"},
	} {
		if err := c.push("one:"+tag, tt.img); err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		got, err := a.UnpackImage(t.Context(), uri+":"+tag, "", dir)
		if tt.want != "" {
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: got %v, want %q", tag, err, tt.want)
			}
			continue
		}
		if content, _ := os.ReadFile(got.Program); err != nil || got.Program != filepath.Join(dir, "server") || string(content) != "xxx" {
			t.Errorf("%s: got %+v, %v, content %q", tag, got, err, content)
		}
	}
	if err := c.push("one:escape", build("arm64", "../../bin/sh", program)); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if got, err := a.UnpackImage(t.Context(), uri+":escape", "", dir); err != nil || got.Program != filepath.Join(dir, "bin", "sh") {
		t.Errorf("an entry point above the root: got %s, %v", got.Program, err)
	}
	for uri, want := range map[string]string{
		uri:                         "want an image",
		"ghcr.io/somebody/one:good": "want an image",
		strings.Replace(uri, "000000000000", "111111111111", 1) + ":good": "want an image",
		strings.Replace(uri, "eu-central-1", "us-east-1", 1) + ":good":    "want an image",
		uri + ":none": "pulling",
	} {
		if _, err := a.UnpackImage(context.Background(), uri, "", t.TempDir()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", uri, err, want)
		}
	}
}
