package localaws

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Repository is a repository of ECR.
type Repository struct {
	Name          string // lower-case letters and digits with ._-/ between them
	ImmutableTags bool
}

// repositories stands in for ECR: its API and the registry behind it, which is
// go-containerregistry's, with the service's rules in front.
type repositories struct {
	s   *Server
	ops map[string]operation

	mu     sync.Mutex // guards what follows
	byName map[string]*imageRepository
	tokens recent[string, registryToken] // by password
}

// imageRepository has a registry of its own, because layers belong to one
// repository and are deleted with it.
type imageRepository struct {
	Repository
	registry http.Handler
	layers   registry.BlobStatHandler

	digests map[string]bool   // of the images; guarded by repositories.mu
	tags    map[string]string // tag to digest; guarded by repositories.mu
}

func newImageRepository(r Repository) *imageRepository {
	layers := registry.NewInMemoryBlobHandler()
	return &imageRepository{
		Repository: r,
		registry:   registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithBlobHandler(layers)),
		layers:     layers.(registry.BlobStatHandler),
		digests:    map[string]bool{}, tags: map[string]string{},
	}
}

// registryToken is the meaning of a registry's password.
type registryToken struct {
	keyID   string // access key that asked for it
	expires time.Time
}

func newRepositories(s *Server) *repositories {
	p := &repositories{s: s, byName: map[string]*imageRepository{}}
	p.ops = map[string]operation{"GetAuthorizationToken": opFrom(&p.mu, p.getAuthorizationToken)}
	return p
}

// repositoryName is the rule of API_CreateRepository.
// https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_CreateRepository.html
var repositoryName = regexp.MustCompile(`^(?:[a-z0-9]+(?:[._-][a-z0-9]+)*/)*[a-z0-9]+(?:[._-][a-z0-9]+)*$`)

// AddRepository makes an empty repository and returns its URI. The host in the
// URI is AWS's; the registry on this machine is at the proxyEndpoint of
// GetAuthorizationToken.
func (s *Server) AddRepository(r Repository) (uri string, err error) {
	p := s.images
	if !repositoryName.MatchString(r.Name) || len(r.Name) < 2 || len(r.Name) > 256 {
		return "", fmt.Errorf("adding repository %.80q: want 2 to 256 lower-case letters and digits, with one of ._-/ between them", r.Name)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.byName[r.Name] != nil {
		return "", fmt.Errorf("adding repository %s: it exists", r.Name)
	}
	p.byName[r.Name] = newImageRepository(r)
	return p.host() + "/" + r.Name, nil
}

// RemoveRepository deletes a repository with its images. A missing repository is
// not an error.
func (s *Server) RemoveRepository(name string) {
	s.images.mu.Lock()
	defer s.images.mu.Unlock()
	delete(s.images.byName, name)
}

// Images lists a repository's images by their tags, and those without a tag by
// their digest, sorted.
func (s *Server) Images(repository string) []string {
	p := s.images
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.byName[repository]
	if r == nil {
		return nil
	}
	untagged := maps.Clone(r.digests)
	for _, digest := range r.tags {
		delete(untagged, digest)
	}
	return append(slices.Sorted(maps.Keys(r.tags)), slices.Sorted(maps.Keys(untagged))...)
}

// host returns the name of the account's registry at AWS.
func (p *repositories) host() string {
	return Account + ".dkr.ecr." + p.s.cfg.Region + ".amazonaws.com"
}

func (p *repositories) arn(name string) string {
	return "arn:aws:ecr:" + p.s.cfg.Region + ":" + Account + ":repository/" + name
}

func (p *repositories) serve(w http.ResponseWriter, r *http.Request, rec *Record) {
	p.s.serveSigned(w, r, rec, "ecr", p.ops, func(rec *Record) []access {
		return []access{{action: "ecr:" + rec.Operation}} // has no resource
	})
}

// tokenLife is how long a registry's password is valid.
// https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_GetAuthorizationToken.html
const tokenLife = 12 * time.Hour

type getAuthorizationTokenInput struct{}

func (p *repositories) getAuthorizationToken(r *http.Request, _ *getAuthorizationTokenInput) (any, *apiError) {
	auth, _ := parseAuthorization(r.Header.Get("Authorization"))
	password, expires := rand.Text(), p.s.cfg.Now().Add(tokenLife)
	p.tokens.put(password, registryToken{auth.accessKeyID, expires})
	return map[string]any{"authorizationData": []any{map[string]any{
		"authorizationToken": base64.StdEncoding.EncodeToString([]byte("AWS:" + password)),
		"expiresAt":          epoch(expires),
		"proxyEndpoint":      baseURL(r),
	}}}, nil
}

// registryPath takes the path of a registry request apart.
// https://github.com/opencontainers/distribution-spec/blob/main/spec.md#endpoints
var registryPath = regexp.MustCompile(`^/v2/(.+)/(blobs/uploads|blobs|manifests)/([^/]*)$`)

// imageTag matches a valid tag.
// https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests
var imageTag = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)

// serveRegistry serves the registry protocol of docker and similar clients. It
// identifies callers by their password, and requires the permissions of ECR's
// API.
// https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-push-iam.html
func (p *repositories) serveRegistry(w http.ResponseWriter, r *http.Request, rec *Record) {
	deny := func(status int, code, message string) { writeRegistryError(w, &apiError{status, code, message}) }
	user, password, ok := r.BasicAuth()
	p.mu.Lock()
	token, known := p.tokens.get(password)
	p.mu.Unlock()
	if !ok || user != "AWS" || !known {
		w.Header().Set("Www-Authenticate", `Basic realm="`+baseURL(r)+`/",service="ecr.amazonaws.com"`)
		deny(http.StatusUnauthorized, "UNAUTHORIZED", "Not Authorized")
		return
	}
	if p.s.cfg.Now().After(token.expires) {
		deny(http.StatusForbidden, "DENIED", "Your authorization token has expired. Reauthenticate and try again.")
		return
	}
	if r.URL.Path == "/v2/" {
		w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
		w.WriteHeader(http.StatusOK)
		return
	}
	m := registryPath.FindStringSubmatch(r.URL.Path)
	action := ""
	if m != nil {
		action = registryAction(r.Method, m[2])
	}
	if action == "" {
		deny(http.StatusNotImplemented, "UNSUPPORTED", "localaws does not implement "+rec.Operation)
		return
	}
	name, reference := m[1], m[3]
	if err := p.s.authorizeKey(token.keyID, access{action: "ecr:" + action, resources: []string{p.arn(name)}}); err != nil {
		deny(http.StatusForbidden, "DENIED", err.Message)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	repository := p.byName[name]
	if repository == nil {
		deny(http.StatusNotFound, "NAME_UNKNOWN", fmt.Sprintf("The repository with name '%s' does not exist in the registry with id '%s'", name, Account))
		return
	}
	if action != "PutImage" {
		repository.registry.ServeHTTP(w, r)
		return
	}
	digest, err := repository.checkManifest(r.Context(), reference, rec.RequestBody)
	if err != nil {
		writeRegistryError(w, err)
		return
	}
	status := &statusWriter{ResponseWriter: w}
	repository.registry.ServeHTTP(status, r)
	if status.status == http.StatusCreated {
		repository.digests[digest] = true
		if reference != digest {
			repository.tags[reference] = digest
		}
	}
}

// https://github.com/opencontainers/distribution-spec/blob/main/spec.md#error-codes
func writeRegistryError(w http.ResponseWriter, e *apiError) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(e.Status)
	json.NewEncoder(w).Encode(map[string]any{"errors": []any{map[string]string{"code": e.Type, "message": e.Message}}})
}

// checkManifest refuses a manifest that PutImage would refuse, and returns its
// digest. reference is a tag or a digest.
// https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_PutImage.html
func (r *imageRepository) checkManifest(ctx context.Context, reference string, manifest []byte) (digest string, refusal *apiError) {
	digest = fmt.Sprintf("sha256:%x", sha256.Sum256(manifest))
	if strings.Contains(reference, ":") && reference != digest {
		return "", &apiError{http.StatusBadRequest, "DIGEST_INVALID", "The specified image digest does not match the digest that was calculated for the image."}
	}
	if !strings.Contains(reference, ":") && !imageTag.MatchString(reference) {
		return "", &apiError{http.StatusBadRequest, "TAG_INVALID", "The image tag does not match " + imageTag.String()}
	}
	// An immutable tag is refused even for the image that has it already.
	// https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-tag-mutability.html
	if _, taken := r.tags[reference]; taken && r.ImmutableTags {
		return "", &apiError{http.StatusBadRequest, "TAG_INVALID", fmt.Sprintf("The image tag '%s' already exists in the '%s' repository and cannot be overwritten because the repository is immutable.", reference, r.Name)}
	}
	image, err := v1.ParseManifest(bytes.NewReader(manifest))
	if err != nil {
		return "", &apiError{http.StatusBadRequest, "MANIFEST_INVALID", "The image manifest is not a manifest."}
	}
	if image.MediaType.IsIndex() {
		return digest, nil // go-containerregistry looks for the images
	}
	for _, l := range append(image.Layers, image.Config) {
		if _, err := r.layers.Stat(ctx, r.Name, l.Digest); err != nil {
			return "", &apiError{http.StatusNotFound, "BLOB_UNKNOWN", "The specified layers could not be found, or the specified layer is not valid for this repository: " + l.Digest.String()}
		}
	}
	return digest, nil
}

// registryAction returns the permission that a request to the registry needs.
func registryAction(method, kind string) string {
	switch method + " " + kind {
	case "HEAD manifests", "GET manifests":
		return "BatchGetImage"
	case "PUT manifests":
		return "PutImage"
	case "HEAD blobs":
		return "BatchCheckLayerAvailability"
	case "GET blobs":
		return "GetDownloadUrlForLayer"
	case "POST blobs/uploads":
		return "InitiateLayerUpload"
	case "PATCH blobs/uploads":
		return "UploadLayerPart"
	case "PUT blobs/uploads":
		return "CompleteLayerUpload"
	}
	return ""
}

// statusWriter records the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}
