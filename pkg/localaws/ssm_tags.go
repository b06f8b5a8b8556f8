package localaws

import (
	"cmp"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// tag is a tag of Systems Manager. Value must be present, but may be empty.
type tag struct {
	Key   string
	Value *string
}

const tagsPerResource = 50

// https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_Tag.html
var (
	tagKey   = textRule{"ValidationException", 1, 128, regexp.MustCompile(`^([\p{L}\p{Z}\p{N}_.:/=+\-@]*)$`)}
	tagValue = textRule{"ValidationException", 0, 256, tagKey.pattern}
)

func checkTags(tags []tag) *apiError {
	seen := map[string]bool{}
	for _, t := range tags {
		if t.Value == nil {
			return errorf("ValidationException", "1 validation error detected: Value at 'tags.value' failed to satisfy constraint: Member must not be null")
		}
		if err := cmp.Or(tagKey.check("tags.key", t.Key), tagValue.check("tags.value", *t.Value)); err != nil {
			return err
		}
		if strings.HasPrefix(strings.ToLower(t.Key), "aws:") {
			return errorf("ValidationException", "Tag keys that begin with aws: are reserved.")
		}
		if seen[t.Key] {
			return errorf("ValidationException", "Tag key %s occurs twice.", t.Key)
		}
		seen[t.Key] = true
	}
	if len(tags) > tagsPerResource {
		return errorf("TooManyTagsError", "A resource can have at most %d tags.", tagsPerResource)
	}
	return nil
}

// tagged returns the parameter that a tag operation names. Other resource types
// are not implemented.
func (p *parameterStore) tagged(resourceType, resourceID string) (*parameter, *apiError) {
	// https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_AddTagsToResource.html
	if !slices.Contains([]string{"Document", "ManagedInstance", "MaintenanceWindow", "Parameter", "PatchBaseline", "OpsItem", "OpsMetadata", "Automation", "Association"}, resourceType) {
		return nil, errorf("InvalidResourceType", "The resource type %.80q isn't valid.", resourceType)
	}
	if resourceType != "Parameter" {
		return nil, unimplemented("tags of ResourceType %.80q", resourceType)
	}
	param := p.parameters[resourceID]
	if param == nil {
		return nil, errorf("InvalidResourceId", "The resource ID is not valid. Verify that you entered the correct ID and try again.")
	}
	return param, nil
}

func (p *parameterStore) addTags(in *struct {
	ResourceType, ResourceId string
	Tags                     []tag
}) (any, *apiError) {
	if len(in.Tags) == 0 {
		return nil, errorf("ValidationException", "1 validation error detected: Value at 'tags' failed to satisfy constraint: Member must not be null or empty")
	}
	if err := checkTags(in.Tags); err != nil {
		return nil, err
	}
	param, err := p.tagged(in.ResourceType, in.ResourceId)
	if err != nil {
		return nil, err
	}
	tags := maps.Clone(param.Tags)
	for _, t := range in.Tags {
		tags[t.Key] = *t.Value
	}
	if len(tags) > tagsPerResource {
		return nil, errorf("TooManyTagsError", "A resource can have at most %d tags.", tagsPerResource)
	}
	param.Tags = tags
	return nil, nil
}

func (p *parameterStore) removeTags(in *struct {
	ResourceType, ResourceId string
	TagKeys                  []string
}) (any, *apiError) {
	if len(in.TagKeys) == 0 {
		return nil, errorf("ValidationException", "1 validation error detected: Value at 'tagKeys' failed to satisfy constraint: Member must not be null or empty")
	}
	for _, key := range in.TagKeys {
		if err := tagKey.check("tagKeys", key); err != nil {
			return nil, err
		}
	}
	param, err := p.tagged(in.ResourceType, in.ResourceId)
	if err != nil {
		return nil, err
	}
	for _, key := range in.TagKeys {
		delete(param.Tags, key)
	}
	return nil, nil
}

func (p *parameterStore) listTags(in *struct{ ResourceType, ResourceId string }) (any, *apiError) {
	param, err := p.tagged(in.ResourceType, in.ResourceId)
	if err != nil {
		return nil, err
	}
	list := []tag{}
	for _, key := range slices.Sorted(maps.Keys(param.Tags)) {
		value := param.Tags[key]
		list = append(list, tag{key, &value})
	}
	return struct{ TagList []tag }{list}, nil
}
