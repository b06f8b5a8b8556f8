package customresource

import (
	"errors"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
)

// bucketPrefix begins the name of the bucket that takes the answers of a
// region; the region without its hyphens follows.
// https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/vpc-interface-endpoints.html
const bucketPrefix = "cloudformation-custom-resource-response-"

// validRegion is a region of the partitions aws, aws-cn and aws-us-gov.
var validRegion = regexp.MustCompile(`^[a-z]{2}(-gov)?-[a-z]+-[0-9]$`)

// validBucket is the bucket of any region, for hosts that do not name theirs.
var validBucket = regexp.MustCompile(`^` + bucketPrefix + `[a-z]{2}(gov)?[a-z]+[0-9]$`)

// urlRule says which reply URLs are CloudFormation's. Whoever may invoke the
// function can put any URL into an event, and the answer, sent from inside the
// function's network, must not go there.
type urlRule struct {
	region   string // empty: any
	loopback bool
}

var errReplyURL = errors.New("the reply URL is missing or is not one of CloudFormation's; only CloudFormation may invoke this function")

// check returns the URL to answer to.
func (r urlRule) check(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Opaque != "" || u.User != nil || u.Fragment != "" {
		return nil, errReplyURL // the parser's error would show the URL
	}
	if r.loopback && u.Scheme == "http" && isLoopback(u.Hostname()) {
		return u, nil
	}
	// Compared as written: no port, no upper case, no trailing dot.
	if u.Scheme != "https" || !r.s3(u.Host, u.EscapedPath()) {
		return nil, errReplyURL
	}
	return u, nil
}

// OnThisMachine reports whether an endpoint, such as AWS_ENDPOINT_URL, is at a
// loopback address: whether AWS itself is on this machine, as in local runs. A
// name does not count, not even localhost.
func OnThisMachine(endpoint string) bool {
	u, err := url.Parse(endpoint)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return err == nil && ip.IsLoopback()
}

// isLoopback reports whether host is a loopback address or localhost.
func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// s3 reports whether host and path name an object in the response bucket of the
// region: the bucket before the host, as CloudFormation writes it, or first in
// the path; S3's regional host with a hyphen or a dot, or its global host.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/VirtualHosting.html
func (r urlRule) s3(host, path string) bool {
	for segment := range strings.SplitSeq(strings.ToLower(path), "/") {
		if s := strings.ReplaceAll(segment, "%2e", "."); s == "." || s == ".." {
			return false
		}
	}
	bucket, endpoint, virtual := strings.Cut(host, ".")
	key := strings.TrimPrefix(path, "/")
	if !virtual || !strings.HasPrefix(bucket, bucketPrefix) {
		endpoint = host
		bucket, key, _ = strings.Cut(key, "/")
	}
	if key == "" || !validBucket.MatchString(bucket) {
		return false
	}
	region, ok := s3Region(endpoint)
	if !ok {
		return false
	}
	without := func(region string) string { return strings.ReplaceAll(region, "-", "") }
	name := strings.TrimPrefix(bucket, bucketPrefix)
	if region == "" {
		// The global host serves the partition aws alone, where the names of
		// the others' buckets are anybody's.
		return !strings.HasPrefix(name, "cn") && !strings.HasPrefix(name, "usgov") &&
			(r.region == "" || name == without(r.region))
	}
	return name == without(region) && (r.region == "" || region == r.region)
}

// s3Region returns the region in the name of an S3 endpoint, empty for the
// global one.
func s3Region(endpoint string) (region string, ok bool) {
	if endpoint == "s3.amazonaws.com" {
		return "", true
	}
	name, china := strings.CutSuffix(endpoint, ".amazonaws.com.cn")
	if !china {
		if name, ok = strings.CutSuffix(endpoint, ".amazonaws.com"); !ok {
			return "", false
		}
	}
	if len(name) < 4 || name[:3] != "s3." && name[:3] != "s3-" {
		return "", false
	}
	region = name[3:]
	return region, validRegion.MatchString(region) && strings.HasPrefix(region, "cn-") == china
}

// redactURL is a URL that can be logged: without its signed query, and without
// anything else that can carry a secret.
func redactURL(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Opaque != "" {
		return "[not a URL]"
	}
	if u.User != nil {
		u.User = url.User("[redacted]")
	}
	if u.RawQuery != "" {
		u.RawQuery = "[redacted]"
	}
	u.Fragment, u.RawFragment = "", ""
	s := u.String()
	return s[:min(len(s), 512)]
}
