package localaws_test

import (
	"encoding/json"
	"errors"
	"hash/crc32"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"

	"agentcore-mcp-auth/pkg/localaws"
)

func text(s string) types.AttributeValue   { return &types.AttributeValueMemberS{Value: s} }
func number(s string) types.AttributeValue { return &types.AttributeValueMemberN{Value: s} }

func TestDynamoDB(t *testing.T) {
	s := startServer(t)
	arn, err := s.AddTable(localaws.Table{Name: "ledger", HashKey: "id", TTLAttribute: "expires"})
	if want := "arn:aws:dynamodb:eu-central-1:" + localaws.Account + ":table/ledger"; err != nil || arn != want {
		t.Fatalf("got %s, %v", arn, err)
	}
	client := dynamodb.NewFromConfig(s.AWSConfig())
	put := func(table, id, expires string) error {
		_, err := client.PutItem(t.Context(), &dynamodb.PutItemInput{
			TableName:                           &table,
			Item:                                map[string]types.AttributeValue{"id": text(id), "expires": number(expires), "on": &types.AttributeValueMemberBOOL{Value: true}, "raw": &types.AttributeValueMemberB{Value: []byte{0, 255}}},
			ConditionExpression:                 aws.String("attribute_not_exists(#id) OR (#on = :on AND #e < :now)"),
			ExpressionAttributeNames:            map[string]string{"#id": "id", "#e": "expires", "#on": "on"},
			ExpressionAttributeValues:           map[string]types.AttributeValue{":now": number("100"), ":on": &types.AttributeValueMemberBOOL{Value: true}},
			ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
		})
		return err
	}
	for _, step := range []struct {
		table, id, expires string
		want               string // expires of the item in the way; empty: it was put
	}{
		{"ledger", "a", "100", ""},
		{"ledger", "a", "200", "100"},
		{arn, "b", "99", ""}, // long over, and yet there
		{arn, "b", "150", ""},
		{"ledger", "b", "151", "150"},
	} {
		err := put(step.table, step.id, step.expires)
		failed, is := errors.AsType[*types.ConditionalCheckFailedException](err)
		switch {
		case step.want == "" && err != nil, step.want != "" && !is:
			t.Errorf("%v: got %v", step, err)
		case is:
			raw, _ := failed.Item["raw"].(*types.AttributeValueMemberB)
			got, _ := failed.Item["expires"].(*types.AttributeValueMemberN)
			if got == nil || got.Value != step.want || raw == nil || string(raw.Value) != "\x00\xff" {
				t.Errorf("%v: got %v", step, failed.Item)
			}
		}
	}
	update := func(id, owner string) error {
		_, err := client.UpdateItem(t.Context(), &dynamodb.UpdateItemInput{
			TableName: &arn, Key: map[string]types.AttributeValue{"id": text(id)},
			UpdateExpression:          aws.String("SET #e = :e, #o = :new"),
			ConditionExpression:       aws.String("attribute_not_exists(#o) OR #o = :o"),
			ExpressionAttributeNames:  map[string]string{"#e": "expires", "#o": "owner"},
			ExpressionAttributeValues: map[string]types.AttributeValue{":e": number("1"), ":o": text(owner), ":new": text("me")},
		})
		return err
	}
	for _, step := range []struct {
		id, owner string
		refused   bool
	}{{"a", "x", false}, {"a", "x", true}, {"a", "me", false}, {"c", "", false}} {
		failed, is := errors.AsType[*types.ConditionalCheckFailedException](update(step.id, step.owner))
		if is != step.refused || is && failed.Item != nil {
			t.Errorf("%v: got %v", step, failed)
		}
	}
	if err := put(arn, "a", "5"); err != nil {
		t.Errorf("the update did not reach the item: %v", err)
	}
	for _, r := range s.Records() {
		if sum := strconv.FormatUint(uint64(crc32.ChecksumIEEE(r.ResponseBody)), 10); r.Service != "dynamodb" || r.ResponseHeader.Get("X-Amz-Crc32") != sum {
			t.Errorf("%s/%s: checksum %s, want %s", r.Service, r.Operation, r.ResponseHeader.Get("X-Amz-Crc32"), sum)
		}
	}
	s.RemoveTable("ledger")
	if _, is := errors.AsType[*types.ResourceNotFoundException](put("ledger", "a", "1")); !is {
		t.Error("the table is still there")
	}
}

func TestDynamoDB_largestItem(t *testing.T) {
	s := startServer(t)
	s.AddTable(localaws.Table{Name: "ledger", HashKey: "id"})
	client := dynamodb.NewFromConfig(s.AWSConfig())
	for _, tt := range []struct {
		n  int
		ok bool
	}{{400<<10 - len("ida") - len("v"), true}, {400<<10 - len("ida") - len("v") + 1, false}} {
		_, err := client.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String("ledger"), Item: map[string]types.AttributeValue{
			"id": text("a"), "v": &types.AttributeValueMemberB{Value: make([]byte, tt.n)},
		}})
		if (err == nil) != tt.ok {
			t.Errorf("%d bytes: got %v", tt.n, err)
		}
	}
}

// Every mistake is refused by name and has no effect.
func TestDynamoDB_refused(t *testing.T) {
	s := startServer(t)
	s.AddTable(localaws.Table{Name: "ledger", HashKey: "id", TTLAttribute: "expires"})
	put := map[string]any{"TableName": "ledger", "Item": json.RawMessage(`{"id":{"S":"a"}}`)}
	set := map[string]any{
		"TableName": "ledger", "Key": json.RawMessage(`{"id":{"S":"a"}}`), "UpdateExpression": "SET #a = :a",
		"ExpressionAttributeNames": map[string]string{"#a": "a"}, "ExpressionAttributeValues": json.RawMessage(`{":a":{"N":"1"}}`),
	}
	names := func(pairs ...string) map[string]string {
		m := map[string]string{}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i]] = pairs[i+1]
		}
		return m
	}
	tests := []struct {
		name      string
		operation string
		base      map[string]any
		edit      map[string]any
		want      string // type, or what the stand-in says it does not implement
	}{
		{"no table", "PutItem", put, map[string]any{"TableName": "other"}, "ResourceNotFoundException"},
		{"bad name", "PutItem", put, map[string]any{"TableName": "a b"}, "Invalid table"},
		{"another region", "PutItem", put, map[string]any{"TableName": "arn:aws:dynamodb:us-east-1:000000000000:table/ledger"}, "Invalid table"},
		{"no item", "PutItem", put, map[string]any{"Item": nil}, "'Item'"},
		{"no key", "PutItem", put, map[string]any{"Item": json.RawMessage(`{"b":{"S":"a"}}`)}, "Missing the key id"},
		{"key of another type", "PutItem", put, map[string]any{"Item": json.RawMessage(`{"id":{"N":"1"}}`)}, "Type mismatch for key id"},
		{"empty key", "PutItem", put, map[string]any{"Item": json.RawMessage(`{"id":{"S":""}}`)}, "empty string value"},
		{"long key", "PutItem", put, map[string]any{"Item": json.RawMessage(`{"id":{"S":"` + strings.Repeat("x", 2049) + `"}}`)}, "hashkey"},
		{"long attribute name", "PutItem", put, map[string]any{"Item": json.RawMessage(`{"id":{"S":"a"},"` + strings.Repeat("x", 65536) + `":{"S":"a"}}`)}, "has not 1 to 65535 bytes"},
		{"placeholder for a long name", "UpdateItem", set, map[string]any{"ExpressionAttributeNames": names("#a", strings.Repeat("x", 65536))}, "invalid key"},
		{"no type", "PutItem", put, map[string]any{"Item": json.RawMessage(`{"id":{}}`)}, "exactly one"},
		{"two types", "PutItem", put, map[string]any{"Item": json.RawMessage(`{"id":{"S":"a","N":"1"}}`)}, "more than one"},
		{"a list", "PutItem", put, map[string]any{"Item": json.RawMessage(`{"id":{"S":"a"},"l":{"L":[]}}`)}, "does not implement member L"},
		{"attribute twice", "PutItem", put, map[string]any{"Item": json.RawMessage(`{"id":{"S":"a"},"id":{"S":"b"}}`)}, "occurs twice"},
		{"fraction", "PutItem", put, map[string]any{"Item": json.RawMessage(`{"id":{"S":"a"},"n":{"N":"1.5"}}`)}, "whole"},
		{"time to live in milliseconds", "PutItem", put, map[string]any{"Item": json.RawMessage(`{"id":{"S":"a"},"expires":{"N":"1795500000000"}}`)}, "seconds since 1970"},
		{"time to live as text", "PutItem", put, map[string]any{"Item": json.RawMessage(`{"id":{"S":"a"},"expires":{"S":"1795500000"}}`)}, "seconds since 1970"},
		{"old values", "PutItem", put, map[string]any{"ReturnValues": "ALL_OLD"}, "ReturnValues"},
		{"bad enum", "PutItem", put, map[string]any{"ReturnValuesOnConditionCheckFailure": "OLD"}, "returnValuesOnConditionCheckFailure"},
		{"unknown member", "PutItem", put, map[string]any{"ReturnConsumedCapacity": "TOTAL"}, "does not implement member ReturnConsumedCapacity"},
		{"names without expression", "PutItem", put, map[string]any{"ExpressionAttributeNames": names("#a", "a")}, "only be specified when using expressions"},
		{"empty names", "PutItem", put, map[string]any{"ConditionExpression": "attribute_exists(#a)", "ExpressionAttributeNames": names()}, "must not be empty"},
		{"empty values", "UpdateItem", set, map[string]any{"ExpressionAttributeValues": json.RawMessage(`{}`)}, "must not be empty"},
		{"bad name placeholder", "UpdateItem", set, map[string]any{"ExpressionAttributeNames": names("#a", "a", "b", "b")}, "invalid key"},
		{"bad value placeholder", "UpdateItem", set, map[string]any{"ExpressionAttributeValues": json.RawMessage(`{":a":{"N":"1"},"b":{"N":"1"}}`)}, "invalid key"},
		{"long placeholder", "UpdateItem", set, map[string]any{"UpdateExpression": "SET #" + strings.Repeat("a", 255) + " = :a", "ExpressionAttributeNames": names("#"+strings.Repeat("a", 255), "a")}, "invalid key"},
		{"long update", "UpdateItem", set, map[string]any{"UpdateExpression": "SET #a = :a" + strings.Repeat(" ", 4096)}, "Expression size"},
		{"long condition", "UpdateItem", set, map[string]any{"ConditionExpression": "#a = :a" + strings.Repeat(" ", 4096)}, "Expression size"},
		{"name not used", "UpdateItem", set, map[string]any{"ExpressionAttributeNames": names("#a", "a", "#b", "b")}, "unused in expressions: keys: {#b}"},
		{"value not used", "UpdateItem", set, map[string]any{"ExpressionAttributeValues": json.RawMessage(`{":a":{"N":"1"},":b":{"N":"1"}}`)}, "unused in expressions: keys: {:b}"},
		{"name not defined", "UpdateItem", set, map[string]any{"UpdateExpression": "SET #b = :a"}, "#b"},
		{"value not defined", "UpdateItem", set, map[string]any{"UpdateExpression": "SET #a = :b"}, ":b"},
		{"attribute by its name", "UpdateItem", set, map[string]any{"UpdateExpression": "SET owner = :a"}, "use a placeholder"},
		{"value by itself", "UpdateItem", set, map[string]any{"UpdateExpression": "SET #a = #a"}, "use a placeholder"},
		{"addition", "UpdateItem", set, map[string]any{"UpdateExpression": "SET #a = :a + :a"}, "token"},
		{"another action", "UpdateItem", set, map[string]any{"UpdateExpression": "REMOVE #a"}, "token"},
		{"no update", "UpdateItem", set, map[string]any{"UpdateExpression": nil}, "UpdateExpression"},
		{"twice", "UpdateItem", set, map[string]any{"UpdateExpression": "SET #a = :a, #a = :a"}, "overlap"},
		{"the key", "UpdateItem", set, map[string]any{"ExpressionAttributeNames": names("#a", "id")}, "part of the key"},
		{"more than the key", "UpdateItem", set, map[string]any{"Key": json.RawMessage(`{"id":{"S":"a"},"b":{"S":"a"}}`)}, "does not match the schema"},
		{"condition cut off", "UpdateItem", set, map[string]any{"ConditionExpression": "#a ="}, "placeholder"},
		{"condition goes on", "UpdateItem", set, map[string]any{"ConditionExpression": "#a = :a )"}, "token"},
		{"open parenthesis", "UpdateItem", set, map[string]any{"ConditionExpression": "(#a = :a"}, "EOF"},
		{"redundant parentheses", "UpdateItem", set, map[string]any{"ConditionExpression": "((#a = :a))"}, "redundant"},
		{"unknown function", "UpdateItem", set, map[string]any{"ConditionExpression": "begins_with(#a, :a)"}, "begins_with"},
		{"unknown operator", "UpdateItem", set, map[string]any{"ConditionExpression": "#a > :a"}, "token"},
		{"or in small letters", "UpdateItem", set, map[string]any{"ConditionExpression": "#a = :a or #a = :a"}, "token"},
		{"order of truth values", "UpdateItem", set, map[string]any{"ConditionExpression": "#a < :a", "ExpressionAttributeValues": json.RawMessage(`{":a":{"BOOL":true}}`)}, "BOOL"},
		{"another operation", "GetItem", put, nil, "does not implement GetItem"},
	}
	for _, tt := range tests {
		in := maps.Clone(tt.base)
		maps.Copy(in, tt.edit)
		maps.DeleteFunc(in, func(_ string, v any) bool { return v == nil })
		body, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		if raw, is := tt.edit["Item"].(json.RawMessage); is && tt.name == "attribute twice" {
			body = []byte(`{"TableName":"ledger","Item":` + string(raw) + `}`)
		}
		status, answer := dynamoRequest(t, s, tt.operation, "application/x-amz-json-1.0", string(body))
		if status < 400 || !strings.Contains(answer, tt.want) {
			t.Errorf("%s: got %d %s, want %q", tt.name, status, answer, tt.want)
		}
	}
	if status, answer := dynamoRequest(t, s, "PutItem", "application/x-amz-json-1.1", `{}`); status != 400 || !strings.Contains(answer, "json-1.0") {
		t.Errorf("the other protocol: got %d %s", status, answer)
	}
	// None of them made the item.
	if status, answer := dynamoRequest(t, s, "PutItem", "application/x-amz-json-1.0",
		`{"TableName":"ledger","Item":{"id":{"S":"a"}},"ConditionExpression":"attribute_not_exists(#i)","ExpressionAttributeNames":{"#i":"id"}}`); status != 200 || answer != "{}" {
		t.Errorf("got %d %s", status, answer)
	}

	other := s.AWSConfig()
	other.Credentials = credentials.NewStaticCredentialsProvider(localaws.AccessKeyID, "another", "")
	_, err := dynamodb.NewFromConfig(other).PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String("ledger"), Item: map[string]types.AttributeValue{"id": text("a")}})
	if api, ok := errors.AsType[smithy.APIError](err); !ok || api.ErrorCode() != "InvalidSignatureException" {
		t.Errorf("signed with another key: got %v", err)
	}
}

func dynamoRequest(t *testing.T, s *localaws.Server, operation, contentType, body string) (int, string) {
	t.Helper()
	req, _ := http.NewRequestWithContext(t.Context(), "POST", s.URL()+"/", strings.NewReader(body))
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("X-Amz-Target", "DynamoDB_20120810."+operation)
	signRequest(t, req, []byte(body), "dynamodb")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(raw)
}

// A role may write to the tables that its policies name.
func TestDynamoDB_permissions(t *testing.T) {
	s := startServer(t)
	arn, _ := s.AddTable(localaws.Table{Name: "ledger", HashKey: "id"})
	s.AddTable(localaws.Table{Name: "other", HashKey: "id"})
	role, err := s.AddRole(localaws.Role{Name: "agent", Trust: lambdaTrust, Policies: []json.RawMessage{json.RawMessage(
		`{"Version":"2012-10-17","Statement":[{"Sid":"Ledger","Effect":"Allow","Action":["dynamodb:PutItem","dynamodb:UpdateItem"],"Resource":"` + arn + `"}]}`)}})
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := s.RoleConfig(role, "agent")
	if err != nil {
		t.Fatal(err)
	}
	for table, want := range map[string]string{"ledger": "", arn: "", "other": "AccessDeniedException", "none": "AccessDeniedException"} {
		_, err := dynamodb.NewFromConfig(cfg).PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &table, Item: map[string]types.AttributeValue{"id": text("a")}})
		api, _ := errors.AsType[smithy.APIError](err)
		if (err == nil) != (want == "") || err != nil && (api == nil || api.ErrorCode() != want) {
			t.Errorf("%s: got %v, want %q", table, err, want)
		}
	}
	if unused, err := s.UnusedGrants(role); err != nil || len(unused) != 1 || unused[0] != "Ledger: action dynamodb:UpdateItem" {
		t.Errorf("unused: %q, %v", unused, err)
	}
}

func TestAddTable_refused(t *testing.T) {
	s := startServer(t)
	good := localaws.Table{Name: "ledger", HashKey: "id", TTLAttribute: "expires"}
	if _, err := s.AddTable(good); err != nil {
		t.Fatal(err)
	}
	for want, tt := range map[string]localaws.Table{
		"exists":       good,
		"Name":         {Name: "a b", HashKey: "id"},
		"HashKey":      {Name: "other"},
		"TTLAttribute": {Name: "other", HashKey: "id", TTLAttribute: "id"},
	} {
		if _, err := s.AddTable(tt); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got %v, want %q", tt, err, want)
		}
	}
}
