package trigger

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// DynamoDB is what a [Table] needs of the service. *dynamodb.Client is one.
type DynamoDB interface {
	PutItem(context.Context, *dynamodb.PutItemInput, ...func(*dynamodb.Options)) (*dynamodb.PutItemOutput, error)
	UpdateItem(context.Context, *dynamodb.UpdateItemInput, ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error)
}

// Table is a [Ledger] in a table of DynamoDB, for all processes that use the
// same one. The table's key is the string id, and its time to live is in
// expires. A record costs one write when it begins and one when it ends.
type Table struct {
	API  DynamoDB
	Name string        // or ARN
	Keep time.Duration // how long outcomes are remembered; default 24 h
}

// The attributes of an item. An item without an outcome is under way until its
// lease is over, in milliseconds since 1970; expires is in seconds, and looked
// at because DynamoDB deletes late.
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/howitworks-ttl.html
const (
	attrID      = "id"
	attrContent = "content"
	attrOwner   = "owner"
	attrLease   = "lease"
	attrOutcome = "outcome"
	attrExpires = "expires"
)

// maxOutcome keeps an item below DynamoDB's 400 KB.
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html
const maxOutcome = 396 << 10

// tableTime bounds one write with its retries: what does not answer by then is
// down, and the record's source delivers it again.
const tableTime = 5 * time.Second

// Begin is [Ledger].Begin.
func (t *Table) Begin(ctx context.Context, key string, content [sha256.Size]byte, until time.Time) (string, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, tableTime)
	defer cancel()
	now, claim := time.Now(), rand.Text()
	_, err := t.API.PutItem(ctx, &dynamodb.PutItemInput{
		TableName: aws.String(t.Name),
		Item: map[string]types.AttributeValue{
			attrID:      text(itemID(key)),
			attrContent: &types.AttributeValueMemberB{Value: content[:]},
			attrOwner:   text(claim),
			attrLease:   number(until.UnixMilli()),
			attrExpires: number(t.expires(now)),
		},
		ConditionExpression:      aws.String("attribute_not_exists(#id) OR #expires < :now OR (attribute_not_exists(#outcome) AND #lease < :nowms)"),
		ExpressionAttributeNames: map[string]string{"#id": attrID, "#expires": attrExpires, "#outcome": attrOutcome, "#lease": attrLease},
		ExpressionAttributeValues: map[string]types.AttributeValue{
			":now":   number(now.Unix()),
			":nowms": number(now.UnixMilli()),
		},
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	})
	taken, is := errors.AsType[*types.ConditionalCheckFailedException](err)
	switch {
	case err == nil:
		return claim, nil, nil
	case !is:
		return "", nil, t.failed("claiming a record", err)
	}
	owner, _ := taken.Item[attrOwner].(*types.AttributeValueMemberS)
	was, _ := taken.Item[attrContent].(*types.AttributeValueMemberB)
	outcome, done := taken.Item[attrOutcome].(*types.AttributeValueMemberB)
	switch {
	case owner == nil || was == nil:
		return "", nil, t.failed("claiming a record", fmt.Errorf("its item %q is not of this ledger; use the table for nothing else", itemID(key)))
	case !bytes.Equal(was.Value, content[:]):
		return "", nil, ErrAltered
	case done:
		return owner.Value, outcome.Value, nil
	case owner.Value == claim: // the answer to a first try was lost, and the SDK tried again
		return claim, nil, nil
	}
	return "", nil, ErrRunning
}

// End is [Ledger].End.
func (t *Table) End(ctx context.Context, key, claim string, outcome []byte) error {
	if len(outcome) > maxOutcome {
		return ErrTooLarge
	}
	ctx, cancel := context.WithTimeout(ctx, tableTime)
	defer cancel()
	in := &dynamodb.UpdateItemInput{
		TableName:                 aws.String(t.Name),
		Key:                       map[string]types.AttributeValue{attrID: text(itemID(key))},
		ConditionExpression:       aws.String("#owner = :claim"),
		UpdateExpression:          aws.String("SET #lease = :never"),
		ExpressionAttributeNames:  map[string]string{"#owner": attrOwner, "#lease": attrLease},
		ExpressionAttributeValues: map[string]types.AttributeValue{":claim": text(claim), ":never": number(0)},
	}
	if outcome != nil {
		in.UpdateExpression = aws.String("SET #outcome = :outcome, #expires = :expires")
		in.ExpressionAttributeNames = map[string]string{"#owner": attrOwner, "#outcome": attrOutcome, "#expires": attrExpires}
		in.ExpressionAttributeValues = map[string]types.AttributeValue{
			":claim":   text(claim),
			":outcome": &types.AttributeValueMemberB{Value: outcome},
			":expires": number(t.expires(time.Now())),
		}
	}
	_, err := t.API.UpdateItem(ctx, in)
	if _, is := errors.AsType[*types.ConditionalCheckFailedException](err); is {
		return errLost
	}
	if err != nil {
		return t.failed("keeping an outcome", err)
	}
	return nil
}

func (t *Table) expires(now time.Time) int64 {
	return now.Add(cmp.Or(t.Keep, keepOutcomes)).Unix()
}

func (t *Table) failed(doing string, err error) error {
	return fmt.Errorf("%s in the DynamoDB table %s: %w", doing, t.Name, err)
}

// itemID is key, or for a long one its hash: DynamoDB takes 2048 bytes, and ids
// are what others wrote.
func itemID(key string) string {
	if len(key) <= 1024 {
		return key
	}
	hash := sha256.Sum256([]byte(key))
	return "sha256 " + hex.EncodeToString(hash[:])
}

func text(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }

func number(n int64) types.AttributeValue {
	return &types.AttributeValueMemberN{Value: strconv.FormatInt(n, 10)}
}
