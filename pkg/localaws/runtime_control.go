package localaws

import (
	"cmp"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"agentcore-mcp-auth/pkg/authorizer"
)

// The statuses of a runtime.
// https://docs.aws.amazon.com/bedrock-agentcore-control/latest/APIReference/API_GetAgentRuntime.html
var runtimeStatuses = []string{"CREATING", "CREATE_FAILED", "UPDATING", "UPDATE_FAILED", "READY", "DELETING", "DELETE_FAILED"}

// serving reports whether the runtime has a version that takes requests. After a
// failed update that is the previous one. The API's pages do not say what a
// request to a runtime without such a version gets; here the runtime does not
// exist then.
func (rt *runtime) serving() bool {
	return !slices.Contains([]string{"CREATING", "CREATE_FAILED", "DELETING"}, rt.Status)
}

// The id of a runtime is the end of its ARN.
var (
	controlPath = regexp.MustCompile(`^/runtimes/[^/%]+/?$`)
	runtimeID   = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_]{0,99}-[a-zA-Z0-9]{10}$`)
)

// serveControl answers GetAgentRuntime, the only implemented operation of the
// control plane. Its requests are signed for the data plane's name.
func (p *runtimes) serveControl(w http.ResponseWriter, r *http.Request, rec *Record) {
	id := strings.Trim(strings.TrimPrefix(rec.Path, "/runtimes/"), "/")
	arn := fmt.Sprintf("arn:aws:bedrock-agentcore:%s:%s:runtime/%s", p.s.cfg.Region, Account, id)
	err := p.s.checkSignature(r, rec.RequestBody, "bedrock-agentcore")
	if err == nil {
		err = p.s.authorize(r, access{action: "bedrock-agentcore:GetAgentRuntime", resources: []string{arn}})
	}
	p.mu.Lock()
	rt := p.byARN[arn]
	p.mu.Unlock()
	switch {
	case err != nil:
		writeError(w, err)
	case r.URL.RawQuery != "":
		writeError(w, &apiError{http.StatusNotImplemented, "UnknownMemberException", "localaws does not implement the query of GetAgentRuntime"})
	case !runtimeID.MatchString(id):
		writeError(w, &apiError{http.StatusBadRequest, "ValidationException", "1 validation error detected: Value at 'agentRuntimeId' failed to satisfy constraint: Member must satisfy regular expression pattern: " + runtimeID.String()})
	case rt == nil:
		writeError(w, &apiError{http.StatusNotFound, "ResourceNotFoundException", "Agent runtime " + id + " was not found"})
	default:
		writePlainJSON(w, http.StatusOK, rt.describe(id))
	}
}

// describe returns the runtime as GetAgentRuntime does, with its only version.
// The image is made up, and so is the role if the runtime has none.
func (rt *runtime) describe(id string) object {
	at := rt.added.UTC().Format(time.RFC3339)
	d := object{
		"agentRuntimeArn": rt.arn, "agentRuntimeId": id, "agentRuntimeName": rt.Name, "agentRuntimeVersion": "1",
		"status": rt.Status, "createdAt": at, "lastUpdatedAt": at,
		"roleArn":                cmp.Or(rt.Role, roleARN(rt.Name)),
		"networkConfiguration":   object{"networkMode": "PUBLIC"},
		"protocolConfiguration":  object{"serverProtocol": rt.Protocol},
		"lifecycleConfiguration": object{"idleRuntimeSessionTimeout": 900, "maxLifetime": 28800},
		"agentRuntimeArtifact":   object{"containerConfiguration": object{"containerUri": Account + ".dkr.ecr." + strings.Split(rt.arn, ":")[3] + ".amazonaws.com/" + strings.ToLower(rt.Name) + ":1"}},
	}
	if rt.FailureReason != "" {
		d["failureReason"] = rt.FailureReason
	}
	if len(rt.HeaderAllowlist) > 0 {
		d["requestHeaderConfiguration"] = object{"requestHeaderAllowlist": rt.HeaderAllowlist}
	}
	if rt.Authorizer != nil {
		d["authorizerConfiguration"] = object{"customJWTAuthorizer": describeAuthorizer(rt.Authorizer)}
	}
	return d
}

func describeAuthorizer(cfg *authorizer.Config) object {
	d := object{"discoveryUrl": cfg.DiscoveryURL}
	for name, list := range map[string][]string{"allowedClients": cfg.AllowedClients, "allowedAudience": cfg.AllowedAudience, "allowedScopes": cfg.AllowedScopes} {
		if list != nil {
			d[name] = list
		}
	}
	var claims []object
	for _, c := range cfg.CustomClaims {
		kind, value := "STRING_ARRAY", object{"matchValueStringList": c.Values}
		if c.Operator != authorizer.ContainsAny {
			value = object{"matchValueString": c.Values[0]}
		}
		if c.Operator == authorizer.Equals {
			kind = "STRING"
		}
		claims = append(claims, object{
			"inboundTokenClaimName": c.Name, "inboundTokenClaimValueType": kind,
			"authorizingClaimMatchValue": object{"claimMatchOperator": c.Operator, "claimMatchValue": value},
		})
	}
	if claims != nil {
		d["customClaims"] = claims
	}
	return d
}
