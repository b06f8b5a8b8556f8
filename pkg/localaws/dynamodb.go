package localaws

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
)

// Table is a table of DynamoDB whose primary key is one string.
type Table struct {
	Name         string // 3 to 255 letters, digits or any of _.-
	HashKey      string // name of the key attribute
	TTLAttribute string // when an item may be deleted, in seconds since 1970; empty: never
}

// AddTable makes a table and returns its ARN. A name that exists is refused.
// Items stay for two days after their time to live, as they may in the service,
// so a reader has to compare it.
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/howitworks-ttl.html
func (s *Server) AddTable(t Table) (arn string, err error) {
	switch {
	case !tableName.MatchString(t.Name):
		err = fmt.Errorf("Name %.80q: want 3 to 255 letters, digits or any of _.-", t.Name)
	case t.HashKey == "" || len(t.HashKey) > maxKeyName:
		err = fmt.Errorf("HashKey %.80q: want 1 to %d bytes", t.HashKey, maxKeyName)
	case len(t.TTLAttribute) > maxKeyName:
		err = fmt.Errorf("TTLAttribute %.80q: want at most %d bytes", t.TTLAttribute, maxKeyName)
	case t.TTLAttribute == t.HashKey:
		err = errors.New("TTLAttribute: it is the HashKey, which is a string")
	}
	d := s.dynamo
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil && d.tables[t.Name] != nil {
		err = fmt.Errorf("a table %s exists; use RemoveTable first", t.Name)
	}
	if err != nil {
		return "", fmt.Errorf("adding table: %w", err)
	}
	d.tables[t.Name] = &table{Table: t, items: map[string]item{}, sweep: maxRecords}
	return d.arn(t.Name), nil
}

// RemoveTable deletes a table with its items. A missing table is not an error.
func (s *Server) RemoveTable(name string) {
	d := s.dynamo
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.tables, name)
}

// Limits of names, keys and items.
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html
const (
	maxKeyName = 255
	maxKey     = 2048
	maxItem    = 400 << 10
)

var tableName = regexp.MustCompile(`^[a-zA-Z0-9_.-]{3,255}$`)

type table struct {
	Table
	items map[string]item // by the value of the key
	sweep int             // number of items at which expired ones are next deleted
}

// dynamo stands in for DynamoDB's PutItem and UpdateItem.
type dynamo struct {
	s   *Server
	ops map[string]operation

	mu     sync.Mutex        // guards tables, map and contents
	tables map[string]*table // by name
}

func newDynamo(s *Server) *dynamo {
	d := &dynamo{s: s, tables: map[string]*table{}}
	d.ops = map[string]operation{
		"PutItem":    op(&d.mu, d.put),
		"UpdateItem": op(&d.mu, d.update),
	}
	return d
}

// serve is serveSigned for DynamoDB: its protocol is AWS JSON 1.0, its answers
// bear a checksum, and its errors the name space of their type.
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.LowLevelAPI.html
func (d *dynamo) serve(w http.ResponseWriter, r *http.Request, rec *Record) {
	err := d.s.checkSignature(r, rec.RequestBody, "dynamodb")
	op := d.ops[rec.Operation]
	if err == nil && op == nil {
		refuse(w, r, rec)
		return
	}
	if err == nil {
		err = d.s.authorizeAll(r, d.needs(rec))
	}
	if err == nil {
		err = checkProtocol(r, "application/x-amz-json-1.0")
	}
	var out any
	if err == nil {
		out, err = op(r, rec.RequestBody)
	}
	writeDynamoDB(w, out, err)
}

// writeDynamoDB answers with out, or with an error that may contain out.
func writeDynamoDB(w http.ResponseWriter, out any, err *apiError) {
	status := http.StatusOK
	if err != nil {
		status = cmp.Or(err.Status, http.StatusBadRequest)
		space := "com.amazonaws.dynamodb.v20120810#"
		if err.Type == "ValidationException" {
			space = "com.amazon.coral.validate#"
		}
		failed, _ := out.(conditionFailed)
		out = struct {
			Type    string `json:"__type"`
			Message string `json:"message"`
			conditionFailed
		}{space + err.Type, err.Message, failed}
	} else if out == nil {
		out = struct{}{}
	}
	raw, _ := json.Marshal(out) // strings and maps of them
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	w.Header().Set("X-Amz-Crc32", strconv.FormatUint(uint64(crc32.ChecksumIEEE(raw)), 10))
	w.WriteHeader(status)
	w.Write(raw)
}

// conditionFailed is the part of a ConditionalCheckFailedException besides its
// message: the present item, if the request asked for it.
type conditionFailed struct {
	Item item `json:",omitempty"`
}

// needs returns the permissions that an operation needs: its own action, on the
// table.
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazondynamodb.html
func (d *dynamo) needs(rec *Record) []access {
	var in struct{ TableName string }
	json.Unmarshal(rec.RequestBody, &in) // the operation reports what is wrong with the body
	return []access{{action: "dynamodb:" + rec.Operation, resources: []string{d.arn(d.name(in.TableName))}}}
}

// name returns the name of a table that is given by name or by ARN.
// https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_PutItem.html
func (d *dynamo) name(given string) string { return strings.TrimPrefix(given, d.arn("")) }

func (d *dynamo) arn(name string) string {
	return "arn:aws:dynamodb:" + d.s.cfg.Region + ":" + Account + ":table/" + name
}

func (d *dynamo) table(given string) (*table, *apiError) {
	name := d.name(given)
	if !tableName.MatchString(name) {
		return nil, errorf("ValidationException", "Invalid table/index name.  Table/index names must be between 3 and 255 characters long, and may contain only the characters a-z, A-Z, 0-9, '_', '-', and '.'")
	}
	t := d.tables[name]
	if t == nil {
		return nil, errorf("ResourceNotFoundException", "Requested resource not found")
	}
	return t, nil
}

// conditional are the members that both operations have.
type conditional struct {
	TableName                           string
	ConditionExpression                 *string
	ExpressionAttributeNames            map[string]string
	ExpressionAttributeValues           json.RawMessage
	ReturnValues                        string
	ReturnValuesOnConditionCheckFailure string
}

// prepare reads what both operations have, up to their expressions.
func (d *dynamo) prepare(in *conditional, expressions int) (*table, *placeholders, *apiError) {
	if in.ConditionExpression != nil {
		expressions++
	}
	p, err := newPlaceholders(in.ExpressionAttributeNames, in.ExpressionAttributeValues, expressions > 0)
	if err != nil {
		return nil, nil, err
	}
	if err := checkEnum("ValidationException", "returnValuesOnConditionCheckFailure", in.ReturnValuesOnConditionCheckFailure, "NONE", "ALL_OLD"); err != nil {
		return nil, nil, err
	}
	if in.ReturnValues != "" && in.ReturnValues != "NONE" {
		return nil, nil, unimplemented("ReturnValues %.40q", in.ReturnValues)
	}
	t, err := d.table(in.TableName)
	return t, p, err
}

// check evaluates the condition of a request on the present item. A value that
// comes with an error is part of the error.
func (in *conditional) check(condition expression, old item) (any, *apiError) {
	if condition == nil || condition(old) {
		return nil, nil
	}
	var out conditionFailed
	if in.ReturnValuesOnConditionCheckFailure == "ALL_OLD" {
		out.Item = old
	}
	return out, errorf("ConditionalCheckFailedException", "The conditional request failed")
}

type putItemInput struct {
	conditional
	Item json.RawMessage
}

func (d *dynamo) put(in *putItemInput) (any, *apiError) {
	t, p, err := d.prepare(&in.conditional, 0)
	if err != nil {
		return nil, err
	}
	fresh, err := readItem(in.Item, "Item")
	if err != nil {
		return nil, err
	}
	key, err := t.key(fresh)
	if err != nil {
		return nil, err
	}
	condition, err := p.condition(in.ConditionExpression)
	if err != nil {
		return nil, err
	}
	if err := cmp.Or(p.unused(), t.check(fresh)); err != nil {
		return nil, err
	}
	if out, err := in.check(condition, t.items[key]); err != nil {
		return out, err
	}
	t.put(key, fresh, d.s.cfg.Now())
	return nil, nil
}

type updateItemInput struct {
	conditional
	Key              json.RawMessage
	UpdateExpression *string
}

// update changes an item, or makes it if there is none.
func (d *dynamo) update(in *updateItemInput) (any, *apiError) {
	if in.UpdateExpression == nil {
		return nil, unimplemented("UpdateItem without UpdateExpression")
	}
	t, p, err := d.prepare(&in.conditional, 1)
	if err != nil {
		return nil, err
	}
	fresh, err := readItem(in.Key, "Key")
	if err != nil {
		return nil, err
	}
	key, err := t.key(fresh)
	if err == nil && len(fresh) != 1 {
		err = errorf("ValidationException", "The provided key element does not match the schema")
	}
	if err != nil {
		return nil, err
	}
	set, err := p.update(*in.UpdateExpression, t.HashKey)
	if err != nil {
		return nil, err
	}
	condition, err := p.condition(in.ConditionExpression)
	if err != nil {
		return nil, err
	}
	if err := p.unused(); err != nil {
		return nil, err
	}
	if out, err := in.check(condition, t.items[key]); err != nil {
		return out, err
	}
	maps.Copy(fresh, t.items[key])
	maps.Copy(fresh, set)
	if err := t.check(fresh); err != nil {
		return nil, err
	}
	t.put(key, fresh, d.s.cfg.Now())
	return nil, nil
}
