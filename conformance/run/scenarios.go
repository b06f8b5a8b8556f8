package main

// The revisions of the protocol to test. A scenario that exists in both runs in
// both, because the messages differ.
const (
	rev2025 = "2025-11-25"
	rev2026 = "2026-07-28"
)

// scenario is one scenario of the suite in one revision.
type scenario struct {
	side, name, revision string

	// least is how many checks have to succeed. Several scenarios report no
	// failure, and no check either, when nothing happens at all.
	least int

	refuses bool // the client must end with an error
}

// scenarios lists the scenarios to run. They are all that apply to a server
// without sessions, requests to the client and resource subscriptions, and to a
// client with the client-credentials grant and no user. Each row has a name and
// the least number of successes in either revision, or 0 if it does not exist
// there.
//
// Left out are scenarios that require a browser, dynamic registration or another
// grant from the client, or sessions, questions to the client, tasks or other
// extensions from the server. Scenarios that pass without doing anything are
// left out too.
func scenarios() []scenario {
	var all []scenario
	add := func(side, name string, in2025, in2026 int, refuses bool) {
		for _, s := range []scenario{
			{side, name, rev2025, in2025, refuses},
			{side, name, rev2026, in2026, refuses},
		} {
			if s.least > 0 {
				all = append(all, s)
			}
		}
	}
	for _, s := range []struct {
		name           string
		in2025, in2026 int
	}{
		{"server-initialize", 2, 0},
		{"ping", 2, 0},
		{"tools-list", 3, 4},
		{"tools-call-simple-text", 2, 2},
		{"tools-call-error", 2, 2},
		{"tools-call-image", 2, 2},
		{"tools-call-audio", 2, 2},
		{"tools-call-embedded-resource", 2, 2},
		{"tools-call-mixed-content", 2, 2},
		{"tools-call-with-progress", 2, 2},
		{"tools-call-with-logging", 1, 0},
		{"json-schema-2020-12", 8, 8},
		{"dns-rebinding-protection", 2, 2},
		{"server-sse-multiple-streams", 0, 1},
		{"server-stateless", 0, 30},
		{"caching", 0, 8},
		{"http-header-validation", 0, 14},
		{"http-custom-header-server-validation", 0, 10},
		{"completion-complete", 2, 2},
		{"prompts-list", 2, 2},
		{"prompts-get-simple", 2, 2},
		{"prompts-get-with-args", 2, 2},
		{"prompts-get-embedded-resource", 2, 2},
		{"prompts-get-with-image", 2, 2},
		{"resources-list", 2, 2},
		{"resources-read-text", 2, 2},
		{"resources-read-binary", 2, 2},
		{"resources-templates-read", 2, 2},
	} {
		add("server", s.name, s.in2025, s.in2026, false)
	}
	for _, s := range []struct {
		name           string
		in2025, in2026 int
		refuses        bool
	}{
		{"initialize", 1, 0, false},
		{"tools_call", 2, 2, false},
		{"sse-retry", 3, 0, false},
		{"json-schema-2020-12-preservation", 9, 9, false},
		{"json-schema-ref-no-deref", 0, 1, false},
		{"request-metadata", 0, 5, false},
		{"http-standard-headers", 0, 3, false},
		{"http-custom-headers", 0, 18, false},
		{"http-invalid-tool-headers", 0, 12, false},
		{"sep-2322-client-request-state", 0, 2, true},
		{"auth/client-credentials-basic", 8, 7, false},
		{"auth/client-credentials-jwt", 8, 7, false},
		{"auth/pre-registration", 8, 7, false},
		{"auth/token-endpoint-auth-basic", 11, 10, false},
		{"auth/token-endpoint-auth-post", 11, 10, false},
		{"auth/metadata-issuer-mismatch", 0, 3, true},
		{"auth/resource-mismatch", 0, 2, true},
		{"auth/metadata-default", 2, 2, true},
		{"auth/metadata-var1", 2, 2, true},
		{"auth/metadata-var2", 2, 2, true},
		{"auth/metadata-var3", 2, 2, true},
	} {
		add("client", s.name, s.in2025, s.in2026, s.refuses)
	}
	return all
}
