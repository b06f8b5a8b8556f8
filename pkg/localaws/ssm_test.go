package localaws_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"agentcore-mcp-auth/pkg/localaws"
)

func (a *account) put(name, value string, typ types.ParameterType) {
	a.t.Helper()
	try(a.t, a.ssm.PutParameter, &ssm.PutParameterInput{Name: &name, Value: &value, Type: typ})
}

// case 140: the rules of PutParameter, each broken once.
func TestPutParameter_rules(t *testing.T) {
	a := newAccount(t)
	a.put("/app/mcp/x/id", "old", types.ParameterTypeString)
	try(t, a.ssm.PutParameter, &ssm.PutParameterInput{Name: aws.String("/big"), Value: aws.String(strings.Repeat("v", 8<<10)),
		Type: types.ParameterTypeString, Tier: types.ParameterTierAdvanced})
	before := a.Leftovers()
	tags := []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}
	in := func(name, value string, change ...func(*ssm.PutParameterInput)) *ssm.PutParameterInput {
		in := &ssm.PutParameterInput{Name: &name, Value: &value, Type: types.ParameterTypeString}
		for _, f := range change {
			f(in)
		}
		return in
	}
	overwrite := func(in *ssm.PutParameterInput) { in.Overwrite = aws.Bool(true) }
	for _, tt := range []struct {
		what string
		in   *ssm.PutParameterInput
		want string
	}{
		{"exists", in("/app/mcp/x/id", "new"), "ParameterAlreadyExists"},
		{"tags with overwrite", in("/app/mcp/x/id", "new", overwrite, func(in *ssm.PutParameterInput) { in.Tags = tags }), "ValidationException"},
		{"tags with overwrite of nothing", in("/new", "new", overwrite, func(in *ssm.PutParameterInput) { in.Tags = tags }), "ValidationException"},
		{"type change", in("/app/mcp/x/id", "new", overwrite, func(in *ssm.PutParameterInput) { in.Type = types.ParameterTypeSecureString }), "HierarchyTypeMismatchException"},
		{"no type", in("/new", "new", func(in *ssm.PutParameterInput) { in.Type = "" }), "ValidationException"},
		{"unknown type", in("/new", "new", func(in *ssm.PutParameterInput) { in.Type = "Text" }), "ValidationException"},
		{"empty value", in("/new", ""), "ValidationException"},
		{"nested value", in("/new", "a{{ssm:other}}b"), "ValidationException"},
		{"double brackets", in("/new", "{{}}"), "ValidationException"},
		{"over 4 KB", in("/new", strings.Repeat("v", 4<<10+1)), "ValidationException"},
		{"over 8 KB", in("/new", strings.Repeat("v", 8<<10+1), func(in *ssm.PutParameterInput) { in.Tier = types.ParameterTierAdvanced }), "ValidationException"},
		{"downgrade", in("/big", "v", overwrite, func(in *ssm.PutParameterInput) { in.Tier = types.ParameterTierStandard }), "ValidationException"},
		{"key for a String", in("/new", "v", func(in *ssm.PutParameterInput) { in.KeyId = aws.String("alias/k") }), "ValidationException"},
		{"empty list item", in("/new", "a,,b", func(in *ssm.PutParameterInput) { in.Type = types.ParameterTypeStringList }), "ValidationException"},
		{"long description", in("/new", "v", func(in *ssm.PutParameterInput) { in.Description = aws.String(strings.Repeat("d", 1025)) }), "ValidationException"},
		{"data type", in("/new", "v", func(in *ssm.PutParameterInput) { in.DataType = aws.String("number") }), "ValidationException"},
		{"data type of an image", in("/new", "v", func(in *ssm.PutParameterInput) { in.DataType = aws.String("aws:ec2:image") }), "UnknownMemberException"},
		{"space in name", in("/a b", "v"), "ValidationException"},
		{"not fully qualified", in("a/b", "v"), "ValidationException"},
		{"trailing slash", in("/a/", "v"), "ValidationException"},
		{"empty level", in("/a//b", "v"), "ValidationException"},
		{"prefix aws", in("/AWS/x", "v"), "ValidationException"},
		{"prefix ssm", in("ssmx", "v"), "ValidationException"},
		{"16 levels", in(strings.Repeat("/l", 16), "v"), "HierarchyLevelLimitExceededException"},
		{"long name", in("/"+strings.Repeat("n", 1000), "v"), "ValidationException"},
		{"reserved tag", in("/new", "v", func(in *ssm.PutParameterInput) {
			in.Tags = []types.Tag{{Key: aws.String("aws:x"), Value: aws.String("v")}}
		}), "ValidationException"},
		{"unimplemented member", in("/new", "v", func(in *ssm.PutParameterInput) { in.AllowedPattern = aws.String(".*") }), "UnknownMemberException"},
	} {
		if got := refused(t, a.ssm.PutParameter, tt.in); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.what, got, tt.want)
		}
	}
	if got := a.Leftovers(); !sameItems(got, before) {
		t.Errorf("after refused writes: got %q, want %q", got, before)
	}
	if got := a.Parameters()["/app/mcp/x/id"]; got.Value != "old" || got.Version != 1 {
		t.Errorf("after refused writes: got %q version %d, want old version 1", got.Value, got.Version)
	}
}

func TestPutParameter_versionsAndTiers(t *testing.T) {
	a := newAccount(t)
	put := func(name, value string, tier types.ParameterTier) *ssm.PutParameterOutput {
		return try(t, a.ssm.PutParameter, &ssm.PutParameterInput{Name: &name, Value: &value, Type: types.ParameterTypeString, Tier: tier, Overwrite: aws.Bool(true)})
	}
	for i, want := range []types.ParameterTier{"Standard", "Standard", "Advanced", "Advanced"} {
		tier := []types.ParameterTier{"", "Intelligent-Tiering", "Advanced", ""}[i]
		got := put("/"+strings.Repeat("l/", 14)+"p", fmt.Sprint(i), tier)
		if got.Version != int64(i+1) || got.Tier != want {
			t.Errorf("write %d: got version %d, tier %s, want %d, %s", i, got.Version, got.Tier, i+1, want)
		}
	}
	if got := put("/large", strings.Repeat("v", 5000), "Intelligent-Tiering").Tier; got != "Advanced" {
		t.Errorf("5000 bytes: got tier %s, want Advanced", got)
	}
	// The type may be left out of an update.
	out := try(t, a.ssm.PutParameter, &ssm.PutParameterInput{Name: aws.String("/large"), Value: aws.String("v"), Overwrite: aws.Bool(true)})
	if out.Version != 2 {
		t.Errorf("update without a type: got version %d, want 2", out.Version)
	}
}

// Case 6: of many writers at once, one creates a parameter.
func TestPutParameter_concurrent(t *testing.T) {
	a := newAccount(t)
	codes := make([]string, 8)
	var wg sync.WaitGroup
	for i := range codes {
		wg.Go(func() {
			_, err := a.ssm.PutParameter(t.Context(), &ssm.PutParameterInput{Name: aws.String("/lock"), Value: aws.String(fmt.Sprint(i)), Type: types.ParameterTypeString})
			codes[i] = errorCode(err)
		})
	}
	wg.Wait()
	count := map[string]int{}
	for _, c := range codes {
		count[c]++
	}
	if count[""] != 1 || count["ParameterAlreadyExists"] != 7 {
		t.Errorf("got %v, want one success and 7 ParameterAlreadyExists", count)
	}
}

func TestGetParameter(t *testing.T) {
	a := newAccount(t)
	start := time.Now().Truncate(time.Millisecond)
	a.put("/app/mcp/x/cognito_secret", "canary", types.ParameterTypeSecureString)
	get := func(decrypt bool) *types.Parameter {
		return try(t, a.ssm.GetParameter, &ssm.GetParameterInput{Name: aws.String("/app/mcp/x/cognito_secret"), WithDecryption: &decrypt}).Parameter
	}
	p := get(true)
	if got, want := aws.ToString(p.Value), "canary"; got != want {
		t.Errorf("decrypted: got %q, want %q", got, want)
	}
	if got, want := aws.ToString(p.ARN), "arn:aws:ssm:eu-central-1:"+localaws.Account+":parameter/app/mcp/x/cognito_secret"; got != want {
		t.Errorf("got ARN %q, want %q", got, want)
	}
	if p.Type != types.ParameterTypeSecureString || p.Version != 1 || p.LastModifiedDate.Before(start) || p.LastModifiedDate.After(time.Now()) {
		t.Errorf("got type %s, version %d, modified %s, want SecureString, 1, now", p.Type, p.Version, p.LastModifiedDate)
	}
	cipher := aws.ToString(get(false).Value)
	if cipher == "" || strings.Contains(cipher, "canary") || cipher != aws.ToString(get(false).Value) {
		t.Errorf("without decryption: got %q, want a steady ciphertext", cipher)
	}
	if got, want := refused(t, a.ssm.GetParameter, &ssm.GetParameterInput{Name: aws.String("/none")}), "ParameterNotFound"; got != want {
		t.Errorf("missing: got %q, want %q", got, want)
	}
	// Versions and labels are not implemented and must not read as the plain name.
	if got, want := refused(t, a.ssm.GetParameter, &ssm.GetParameterInput{Name: aws.String("/app/mcp/x/cognito_secret:1")}), "ValidationException"; got != want {
		t.Errorf("selector: got %q, want %q", got, want)
	}
}

func TestGetAndDeleteParameters(t *testing.T) {
	a := newAccount(t)
	a.put("/b", "2", types.ParameterTypeString)
	a.put("/a", "1", types.ParameterTypeString)
	got := try(t, a.ssm.GetParameters, &ssm.GetParametersInput{Names: []string{"/c", "/b", "/a"}})
	if len(got.Parameters) != 2 || aws.ToString(got.Parameters[0].Name) != "/a" || !sameItems(got.InvalidParameters, []string{"/c"}) {
		t.Errorf("GetParameters: got %v and invalid %v, want /a, /b and invalid /c", got.Parameters, got.InvalidParameters)
	}
	eleven := make([]string, 11)
	for i := range eleven {
		eleven[i] = fmt.Sprintf("/p%d", i)
	}
	for what, names := range map[string][]string{"eleven": eleven, "none": {}, "twice the same": {"/a", "/a"}} {
		if got, want := refused(t, a.ssm.GetParameters, &ssm.GetParametersInput{Names: names}), "ValidationException"; got != want {
			t.Errorf("GetParameters of %s: got %q, want %q", what, got, want)
		}
		if got, want := refused(t, a.ssm.DeleteParameters, &ssm.DeleteParametersInput{Names: names}), "ValidationException"; got != want {
			t.Errorf("DeleteParameters of %s: got %q, want %q", what, got, want)
		}
	}
	del := try(t, a.ssm.DeleteParameters, &ssm.DeleteParametersInput{Names: []string{"/a", "/c"}})
	if !sameItems(del.DeletedParameters, []string{"/a"}) || !sameItems(del.InvalidParameters, []string{"/c"}) {
		t.Errorf("DeleteParameters: got %v and %v, want /a deleted and /c invalid", del.DeletedParameters, del.InvalidParameters)
	}
	try(t, a.ssm.DeleteParameter, &ssm.DeleteParameterInput{Name: aws.String("/b")})
	if got, want := refused(t, a.ssm.DeleteParameter, &ssm.DeleteParameterInput{Name: aws.String("/b")}), "ParameterNotFound"; got != want {
		t.Errorf("DeleteParameter twice: got %q, want %q", got, want)
	}
	if got := a.Leftovers(); len(got) != 0 {
		t.Errorf("got leftovers %q, want none", got)
	}
}

func TestGetParametersByPath(t *testing.T) {
	a := newAccount(t)
	for i := range 25 {
		a.put(fmt.Sprintf("/app/mcp/p%02d", i), "v", types.ParameterTypeString)
	}
	a.put("/app/mcp/x/secret", "canary", types.ParameterTypeSecureString)
	a.put("/app/mcpx/other", "v", types.ParameterTypeString)
	a.put("/app/mcp", "the path itself", types.ParameterTypeString)

	list := func(in *ssm.GetParametersByPathInput) (names []string, calls int) {
		t.Helper()
		for pages := ssm.NewGetParametersByPathPaginator(a.ssm, in); pages.HasMorePages(); calls++ {
			page, err := pages.NextPage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range page.Parameters {
				names = append(names, aws.ToString(p.Name))
				if strings.Contains(aws.ToString(p.Value), "canary") && !aws.ToBool(in.WithDecryption) {
					t.Errorf("%s: value shown without decryption", aws.ToString(p.Name))
				}
			}
		}
		return names, calls
	}
	for _, tt := range []struct {
		path      string
		recursive bool
		max       *int32
		want      int
		wantCalls int
	}{
		{"/app/mcp", false, nil, 25, 3},
		{"/app/mcp/", false, aws.Int32(10), 25, 3},
		{"/app/mcp", true, aws.Int32(7), 26, 4},
		{"/app", true, nil, 28, 3},
		{"/", true, nil, 28, 3},
		{"/none", true, nil, 0, 1},
	} {
		names, calls := list(&ssm.GetParametersByPathInput{Path: &tt.path, Recursive: &tt.recursive, MaxResults: tt.max})
		seen := map[string]bool{}
		for _, n := range names {
			seen[n] = true
		}
		if len(names) != tt.want || len(seen) != tt.want || calls != tt.wantCalls {
			t.Errorf("%s recursive=%t: got %d names (%d different) in %d calls, want %d in %d", tt.path, tt.recursive, len(names), len(seen), calls, tt.want, tt.wantCalls)
		}
	}

	first := try(t, a.ssm.GetParametersByPath, &ssm.GetParametersByPathInput{Path: aws.String("/app/mcp"), MaxResults: aws.Int32(10)})
	for _, tt := range []struct {
		what string
		in   ssm.GetParametersByPathInput
		want string
	}{
		{"11 results", ssm.GetParametersByPathInput{Path: aws.String("/a"), MaxResults: aws.Int32(11)}, "ValidationException"},
		{"0 results", ssm.GetParametersByPathInput{Path: aws.String("/a"), MaxResults: aws.Int32(0)}, "ValidationException"},
		{"relative path", ssm.GetParametersByPathInput{Path: aws.String("app")}, "ValidationException"},
		{"made-up token", ssm.GetParametersByPathInput{Path: aws.String("/app"), NextToken: aws.String("x")}, "InvalidNextToken"},
		{"token of another path", ssm.GetParametersByPathInput{Path: aws.String("/app"), NextToken: first.NextToken}, "InvalidNextToken"},
		{"filters", ssm.GetParametersByPathInput{Path: aws.String("/app"), ParameterFilters: []types.ParameterStringFilter{{Key: aws.String("Type")}}}, "UnknownMemberException"},
	} {
		if got := refused(t, a.ssm.GetParametersByPath, &tt.in); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.what, got, tt.want)
		}
	}
	// A parameter that is deleted between two pages does not hide another.
	try(t, a.ssm.DeleteParameter, &ssm.DeleteParameterInput{Name: first.Parameters[9].Name})
	second := try(t, a.ssm.GetParametersByPath, &ssm.GetParametersByPathInput{Path: aws.String("/app/mcp"), MaxResults: aws.Int32(10), NextToken: first.NextToken})
	if got, want := aws.ToString(second.Parameters[0].Name), "/app/mcp/p10"; got != want {
		t.Errorf("second page: got %s first, want %s", got, want)
	}
}

func TestDescribeParameters(t *testing.T) {
	a := newAccount(t)
	for i := range 60 {
		a.put(fmt.Sprintf("/p/%d", i), "v", types.ParameterTypeString)
	}
	total := 0
	for pages := ssm.NewDescribeParametersPaginator(a.ssm, &ssm.DescribeParametersInput{MaxResults: aws.Int32(50)}); pages.HasMorePages(); {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		total += len(page.Parameters)
	}
	if total != 60 {
		t.Errorf("got %d parameters, want 60", total)
	}
}

func TestDescribeParameters_path(t *testing.T) {
	a := newAccount(t)
	for _, name := range []string{"/app/a", "/app/b/c", "/apple", "app"} {
		a.put(name, "v", types.ParameterTypeString)
	}
	filter := func(key, option string, values ...string) *ssm.DescribeParametersInput {
		f := types.ParameterStringFilter{Key: &key, Values: values}
		if option != "" {
			f.Option = &option
		}
		return &ssm.DescribeParametersInput{ParameterFilters: []types.ParameterStringFilter{f}}
	}
	for option, want := range map[string][]string{"": {"/app/a"}, "OneLevel": {"/app/a"}, "Recursive": {"/app/a", "/app/b/c"}} {
		var got []string
		for _, p := range try(t, a.ssm.DescribeParameters, filter("Path", option, "/app")).Parameters {
			got = append(got, *p.Name)
		}
		if !slices.Equal(got, want) {
			t.Errorf("option %q: got %v, want %v", option, got, want)
		}
	}
	for want, in := range map[string]*ssm.DescribeParametersInput{
		"InvalidFilterOption":    filter("Path", "Equals", "/app"),
		"ValidationException":    filter("Path", "", "app"),
		"UnknownMemberException": filter("Name", "Equals", "/app"),
	} {
		if got := refused(t, a.ssm.DescribeParameters, in); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// Case 25: ownership tags of a parameter.
func TestParameterTags(t *testing.T) {
	a := newAccount(t)
	name := aws.String("/app/mcp/x/id")
	tags := func(pairs ...string) (out []types.Tag) {
		for i := 0; i < len(pairs); i += 2 {
			out = append(out, types.Tag{Key: &pairs[i], Value: &pairs[i+1]})
		}
		return out
	}
	try(t, a.ssm.PutParameter, &ssm.PutParameterInput{Name: name, Value: aws.String("v"), Type: types.ParameterTypeString, Tags: tags("owner", "stack-1", "env", "")})
	try(t, a.ssm.PutParameter, &ssm.PutParameterInput{Name: name, Value: aws.String("w"), Overwrite: aws.Bool(true)})
	try(t, a.ssm.AddTagsToResource, &ssm.AddTagsToResourceInput{ResourceType: "Parameter", ResourceId: name, Tags: tags("owner", "stack-2", "b", "c")})
	if got, want := refused(t, a.ssm.RemoveTagsFromResource, &ssm.RemoveTagsFromResourceInput{ResourceType: "Parameter", ResourceId: name, TagKeys: []string{"b", strings.Repeat("k", 129)}}), "ValidationException"; got != want {
		t.Errorf("a long tag key: got %q, want %q", got, want)
	}
	if got, want := refused(t, a.ssm.ListTagsForResource, &ssm.ListTagsForResourceInput{ResourceType: "Parameters", ResourceId: name}), "InvalidResourceType"; got != want {
		t.Errorf("no type of resource: got %q, want %q", got, want)
	}
	try(t, a.ssm.RemoveTagsFromResource, &ssm.RemoveTagsFromResourceInput{ResourceType: "Parameter", ResourceId: name, TagKeys: []string{"b", "absent"}})
	got := map[string]string{}
	for _, tag := range try(t, a.ssm.ListTagsForResource, &ssm.ListTagsForResourceInput{ResourceType: "Parameter", ResourceId: name}).TagList {
		got[aws.ToString(tag.Key)] = aws.ToString(tag.Value)
	}
	if len(got) != 2 || got["owner"] != "stack-2" {
		t.Errorf("got tags %v, want owner stack-2 and env", got)
	}
	var many []string
	for i := range 51 {
		many = append(many, fmt.Sprint("k", i), "v")
	}
	for _, tt := range []struct {
		what, typ, id string
		tags          []types.Tag
		want          string
	}{
		{"no such parameter", "Parameter", "/none", tags("a", "b"), "InvalidResourceId"},
		{"another type", "Document", *name, tags("a", "b"), "UnknownMemberException"},
		{"51 tags", "Parameter", *name, tags(many...), "TooManyTagsError"},
		{"bad key", "Parameter", *name, tags("a?", "b"), "ValidationException"},
		{"no tags", "Parameter", *name, []types.Tag{}, "ValidationException"},
	} {
		in := &ssm.AddTagsToResourceInput{ResourceType: types.ResourceTypeForTagging(tt.typ), ResourceId: &tt.id, Tags: tt.tags}
		if got := refused(t, a.ssm.AddTagsToResource, in); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.what, got, tt.want)
		}
	}
}

// An overwrite without a KeyId encrypts with the account's key again.
func TestPutParameter_key(t *testing.T) {
	a := newAccount(t)
	put := func(key *string) {
		try(t, a.ssm.PutParameter, &ssm.PutParameterInput{Name: aws.String("/app/s"), Value: aws.String("v"), Type: types.ParameterTypeSecureString, KeyId: key, Overwrite: aws.Bool(true)})
	}
	for _, key := range []*string{aws.String("alias/mine"), nil, aws.String("alias/mine"), aws.String("alias/aws/ssm")} {
		put(key)
		if got := a.Parameters()["/app/s"].KeyID; got != aws.ToString(key) {
			t.Errorf("got key %q, want %q", got, aws.ToString(key))
		}
	}
}
