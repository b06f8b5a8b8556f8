// Package image makes container images of static binaries and puts them into
// registries, with no Docker.
//
// An [Image] has one layer: the program as /NAME, which is its entry point, and
// the root certificates where TLS libraries look for them. It runs as nobody
// (65532), needs no writable file, and has no shell. The same input makes the
// same image, byte for byte, on any machine.
//
// Start with [New], then [Image.Push], whose errors never contain the registry's
// password. The formats are those of
// https://github.com/opencontainers/image-spec and
// https://github.com/opencontainers/distribution-spec
package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// User is the user and the group that every image runs as: nobody, by the
// custom of images that have no users.
const User = "65532:65532"

// MaxBinary bounds a program, in bytes.
const MaxBinary = 256 << 20

// Config describes an image.
type Config struct {
	Name   string            // of the program: lower-case letters, digits and hyphens
	Port   int               // that it listens on; 0: none
	Env    map[string]string // variables it starts with
	Labels map[string]string
}

// Image is an image that is in no registry yet.
type Image struct {
	v1   v1.Image
	name string
}

var validName = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

// New makes the image of a program, which must be a static ELF executable for
// linux. Its architecture becomes the image's.
func New(binary []byte, c Config) (*Image, error) {
	if !validName.MatchString(c.Name) || len(c.Name) > 64 {
		return nil, fmt.Errorf("image: name %.80q: want up to 64 lower-case letters, digits and hyphens", c.Name)
	}
	if c.Port < 0 || c.Port > 65535 {
		return nil, fmt.Errorf("image: port %d: want 0 to 65535", c.Port)
	}
	arch, err := architecture(binary)
	if err != nil {
		return nil, fmt.Errorf("image: program %s: %w", c.Name, err)
	}
	layer, err := newLayer(binary, c.Name)
	if err != nil {
		return nil, fmt.Errorf("image: making the layer of %s: %w", c.Name, err)
	}
	img := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	img = mutate.ConfigMediaType(img, types.OCIConfigJSON)
	if img, err = mutate.Append(img, mutate.Addendum{
		Layer:     layer,
		MediaType: types.OCILayer,
		History:   v1.History{CreatedBy: "agentcore-mcp-auth/pkg/image", Created: v1.Time{Time: time.Unix(0, 0).UTC()}},
	}); err != nil {
		return nil, fmt.Errorf("image: adding the layer of %s: %w", c.Name, err)
	}
	file, err := img.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("image: configuring %s: %w", c.Name, err)
	}
	file = file.DeepCopy()
	file.OS, file.Architecture = "linux", arch
	if arch == "arm64" {
		file.Variant = "v8"
	}
	file.Created = v1.Time{Time: time.Unix(0, 0).UTC()}
	file.Config = v1.Config{
		User:       User,
		Entrypoint: []string{"/" + c.Name},
		WorkingDir: "/",
		Labels:     maps.Clone(c.Labels),
	}
	for _, k := range slices.Sorted(maps.Keys(c.Env)) {
		file.Config.Env = append(file.Config.Env, k+"="+c.Env[k])
	}
	if c.Port != 0 {
		file.Config.ExposedPorts = map[string]struct{}{strconv.Itoa(c.Port) + "/tcp": {}}
	}
	if img, err = mutate.ConfigFile(img, file); err != nil {
		return nil, fmt.Errorf("image: configuring %s: %w", c.Name, err)
	}
	return &Image{v1: img, name: c.Name}, nil
}

// Digest is the image's digest, as sha256:….
func (i *Image) Digest() (string, error) {
	d, err := i.v1.Digest()
	if err != nil {
		return "", fmt.Errorf("image: digest of %s: %w", i.name, err)
	}
	return d.String(), nil
}

// architecture is what a binary was built for, in Go's words.
func architecture(binary []byte) (string, error) {
	if len(binary) > MaxBinary {
		return "", fmt.Errorf("it has %d bytes, at most %d are allowed", len(binary), MaxBinary)
	}
	f, err := elf.NewFile(bytes.NewReader(binary))
	if err != nil {
		return "", errors.New("it is not an ELF executable; build it with GOOS=linux")
	}
	defer f.Close()
	if f.Type != elf.ET_EXEC && f.Type != elf.ET_DYN || f.OSABI != elf.ELFOSABI_NONE && f.OSABI != elf.ELFOSABI_LINUX {
		return "", fmt.Errorf("it is a %v for %v, not an executable for linux", f.Type, f.OSABI)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return "", errors.New("it is linked dynamically, and the image has no libraries; build it with CGO_ENABLED=0")
		}
	}
	switch {
	case f.Class == elf.ELFCLASS64 && f.Machine == elf.EM_AARCH64:
		return "arm64", nil
	case f.Class == elf.ELFCLASS64 && f.Machine == elf.EM_X86_64:
		return "amd64", nil
	}
	return "", fmt.Errorf("it is for %v; build it with GOARCH=arm64", f.Machine)
}

// certificates is where Go and OpenSSL look for root certificates first.
const certificates = "etc/ssl/certs/ca-certificates.crt"

// compression is gzip's default: the best takes three times as long, which is
// seconds in a small Lambda function, for less than a hundredth of the size.
const compression = gzip.DefaultCompression

func newLayer(binary []byte, name string) (v1.Layer, error) {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	add := func(h tar.Header, content []byte) error {
		h.ModTime, h.Size, h.Format = time.Unix(0, 0), int64(len(content)), tar.FormatUSTAR
		if err := w.WriteHeader(&h); err != nil {
			return err
		}
		_, err := w.Write(content)
		return err
	}
	err := errors.Join(
		add(tar.Header{Typeflag: tar.TypeDir, Name: "etc/", Mode: 0o755}, nil),
		add(tar.Header{Typeflag: tar.TypeDir, Name: "etc/ssl/", Mode: 0o755}, nil),
		add(tar.Header{Typeflag: tar.TypeDir, Name: "etc/ssl/certs/", Mode: 0o755}, nil),
		add(tar.Header{Typeflag: tar.TypeReg, Name: certificates, Mode: 0o444}, roots()),
		add(tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o555}, binary),
		w.Close(),
	)
	if err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(archive.Bytes())), nil
	}, tarball.WithCompressionLevel(compression), tarball.WithCompressedCaching, tarball.WithMediaType(types.OCILayer))
}

// roots are Mozilla's root certificates as this module pins them, without those
// that may only be trusted under conditions, which a file cannot express.
func roots() []byte {
	var file bytes.Buffer
	for r := range bundle.Roots() {
		if r.Constraint == nil {
			pem.Encode(&file, &pem.Block{Type: "CERTIFICATE", Bytes: r.Certificate})
		}
	}
	return file.Bytes()
}
