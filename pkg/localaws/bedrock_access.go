package localaws

import "strings"

// profileRegions lists where a cross-region profile of a geography may send a
// request: the destinations of the Claude models, in addition to the source
// region, which is always one. The service asks IAM for the region that it picks
// for a request. The stand-in asks for all of them, because a role that lacks
// one works only until that one is picked.
// https://docs.aws.amazon.com/bedrock/latest/userguide/geographic-cross-region-inference.html
// https://docs.aws.amazon.com/bedrock/latest/userguide/inference-profiles-support.html
var profileRegions = map[string][]string{
	"us":   {"us-east-1", "us-east-2", "us-west-2"},
	"eu":   {"eu-central-1", "eu-north-1", "eu-south-1", "eu-south-2", "eu-west-1", "eu-west-3"},
	"apac": {"ap-northeast-1", "ap-northeast-2", "ap-northeast-3", "ap-south-1", "ap-south-2", "ap-southeast-1", "ap-southeast-2"},
	"jp":   {"ap-northeast-1", "ap-northeast-3"},
	"au":   {"ap-southeast-2", "ap-southeast-4"},
	"ca":   {"ca-central-1", "ca-west-1"},
}

// modelAccess returns the permissions that a request of Converse or
// ConverseStream needs: for the model, or for a profile and the models behind
// it, and for its guardrail.
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonbedrock.html
// https://docs.aws.amazon.com/bedrock/latest/userguide/inference-profiles-prereq.html
// https://docs.aws.amazon.com/bedrock/latest/userguide/guardrails-permissions.html
func (s *Server) modelAccess(req ConverseRequest) []access {
	here := "arn:aws:bedrock:" + s.cfg.Region + ":" + Account + ":"
	action := "bedrock:InvokeModel"
	if req.Operation == "ConverseStream" {
		action = "bedrock:InvokeModelWithResponseStream"
	}
	kind, id, arn := "", req.ModelID, req.ModelID
	if m := modelARN.FindStringSubmatch(req.ModelID); m != nil {
		kind, id = m[3], m[4]
	} else if m := modelID.FindStringSubmatch(id); m[1] != "" {
		kind, arn = "inference-profile", here+"inference-profile/"+id
	} else {
		kind, arn = "foundation-model", foundationModel(s.cfg.Region, id)
	}
	need := []access{{action: action, resources: []string{arn}}}
	switch kind {
	case "inference-profile":
		need = append(need, s.routed(action, arn, id)...)
	case "application-inference-profile":
		// The stand-in does not know the model behind an application profile, so
		// the role must be allowed all models.
		need = append(need, access{action: action, resources: []string{foundationModel("*", "*")},
			context: map[string]string{"bedrock:InferenceProfileArn": arn}})
	}
	if req.Guardrail != "" {
		guardrail := req.Guardrail
		if !strings.HasPrefix(guardrail, "arn:") {
			guardrail = here + "guardrail/" + guardrail
		}
		need = append(need, access{action: "bedrock:ApplyGuardrail", resources: []string{guardrail}})
	}
	return need
}

func foundationModel(region, id string) string {
	return "arn:aws:bedrock:" + region + "::foundation-model/" + id
}

// routed returns the access to the models that a system-defined profile sends a
// request to. One destination of a global profile has no region.
// https://docs.aws.amazon.com/bedrock/latest/userguide/global-cross-region-inference.html
func (s *Server) routed(action, profile, id string) (need []access) {
	geography, model, _ := strings.Cut(id, ".")
	ask := func(arnRegion, requested string) {
		need = append(need, access{action: action, resources: []string{foundationModel(arnRegion, model)}, context: map[string]string{
			"aws:RequestedRegion":         requested,
			"bedrock:InferenceProfileArn": profile,
		}})
	}
	ask(s.cfg.Region, s.cfg.Region)
	if geography == "global" {
		ask("", "unspecified")
		return need
	}
	regions, known := profileRegions[geography]
	if !known {
		regions = []string{"*"} // the role must be allowed every region
	}
	for _, region := range regions {
		if region != s.cfg.Region {
			ask(region, region)
		}
	}
	return need
}
