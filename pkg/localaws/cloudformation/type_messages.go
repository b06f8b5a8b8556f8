package cloudformation

import (
	"cmp"
	"errors"
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"strings"

	"github.com/google/uuid"

	"agentcore-mcp-auth/pkg/localaws"
)

const (
	sqsQueue = "AWS::SQS::Queue"
	snsTopic = "AWS::SNS::Topic"
)

type queueProperties struct {
	QueueName                     string `cfn:"replace"`
	FifoQueue                     bool   `cfn:"replace"`
	ContentBasedDeduplication     bool
	DelaySeconds                  int
	KmsMasterKeyId                string
	MaximumMessageSize            int
	MessageRetentionPeriod        int
	ReceiveMessageWaitTimeSeconds int
	RedriveAllowPolicy            any
	RedrivePolicy                 map[string]any
	SqsManagedSseEnabled          bool
	Tags                          []tag
	VisibilityTimeout             *int
}

// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_CreateQueue.html
// https://docs.aws.amazon.com/sns/latest/api/API_CreateTopic.html
var (
	queueName = regexp.MustCompile(`^[a-zA-Z0-9_-]+$`)
	topicName = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,256}$`)
)

// check checks numbers against the limits of a queue's attributes. Zero means
// the default if zero itself is not valid.
// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SetQueueAttributes.html
func (p *queueProperties) check() error {
	visible := 0
	if p.VisibilityTimeout != nil {
		visible = *p.VisibilityTimeout
	}
	for _, a := range []struct {
		name             string
		value, min, most int
	}{
		{"DelaySeconds", p.DelaySeconds, 0, 900},
		{"MaximumMessageSize", p.MaximumMessageSize, 1024, 1 << 20},
		{"MessageRetentionPeriod", p.MessageRetentionPeriod, 60, 1209600},
		{"ReceiveMessageWaitTimeSeconds", p.ReceiveMessageWaitTimeSeconds, 0, 20},
		{"VisibilityTimeout", visible, 0, 43200},
	} {
		if a.value != 0 && (a.value < a.min || a.value > a.most) {
			return fmt.Errorf("%s: want %d to %d", a.name, a.min, a.most)
		}
	}
	if p.ContentBasedDeduplication && !p.FifoQueue {
		return errors.New("ContentBasedDeduplication is for a FIFO queue")
	}
	return nil
}

var queueType = kept([]string{"Arn", "QueueName", "QueueUrl"}, func(r *request, p queueProperties) (made, error) {
	name := r.id[strings.LastIndex(r.id, "/")+1:]
	if name == "" {
		if name = r.name(p.QueueName, 75); p.FifoQueue && p.QueueName == "" {
			name += ".fifo"
		}
	}
	switch {
	case p.FifoQueue != strings.HasSuffix(name, ".fifo"):
		return made{}, errors.New("the name of a FIFO queue, and of no other, ends in .fifo")
	case !queueName.MatchString(strings.TrimSuffix(name, ".fifo")) || len(name) > 80:
		return made{}, fmt.Errorf("QueueName %.100q: want up to 80 letters, digits, hyphens or underscores", name)
	}
	if err := p.check(); err != nil {
		return made{}, err
	}
	if p.RedrivePolicy != nil {
		arn, _ := p.RedrivePolicy["deadLetterTargetArn"].(string)
		count, _ := text(p.RedrivePolicy["maxReceiveCount"])
		n, ok := number(count)
		switch err := r.destination(arn); {
		case err != nil:
			return made{}, fmt.Errorf("RedrivePolicy: %w", err)
		case len(p.RedrivePolicy) > 2 || !ok || !n.IsInt() || n.Num().Cmp(big.NewInt(1)) < 0 || n.Num().Cmp(big.NewInt(1000)) > 0:
			return made{}, errors.New("RedrivePolicy: want a deadLetterTargetArn and a maxReceiveCount of 1 to 1000")
		case p.FifoQueue != strings.HasSuffix(arn, ".fifo"):
			return made{}, errors.New("RedrivePolicy: the dead-letter queue of a FIFO queue, and of no other, is a FIFO queue")
		}
	}
	url := r.queueURL(name)
	return made{id: url, attributes: map[string]any{"Arn": r.arn("sqs", name), "QueueName": name, "QueueUrl": url}}, nil
})

func (r *request) queueURL(name string) string {
	return "https://sqs." + r.aws.AWSConfig().Region + ".amazonaws.com/" + localaws.Account + "/" + name
}

// destination refuses the ARN of a missing queue or topic.
func (r *request) destination(arn string) error {
	if name, ok := strings.CutPrefix(arn, r.arn("sqs", "")); ok && r.aws.Kept(sqsQueue, r.queueURL(name)) {
		return nil
	}
	if r.aws.Kept(snsTopic, arn) {
		return nil
	}
	return fmt.Errorf("there is no queue or topic %.300q", arn)
}

type queuePolicyProperties struct {
	PolicyDocument any      `cfn:"required"`
	Queues         []string `cfn:"required"`
}

var queuePolicyType = kept([]string{"Id"}, func(r *request, p queuePolicyProperties) (made, error) {
	for _, url := range p.Queues {
		if !r.aws.Kept(sqsQueue, url) {
			return made{}, fmt.Errorf("there is no queue %s", url)
		}
	}
	id := r.generated("", 100)
	return made{id: id, attributes: map[string]any{"Id": id}}, nil
})

type topicProperties struct {
	TopicName        string `cfn:"replace"`
	DisplayName      string
	KmsMasterKeyId   string
	SignatureVersion string
	TracingConfig    string
	Subscription     []struct {
		Endpoint string `cfn:"required"`
		Protocol string `cfn:"required"`
	}
	Tags []tag
}

var topicType = kept([]string{"TopicArn", "TopicName"}, func(r *request, p topicProperties) (made, error) {
	name := r.id[strings.LastIndex(r.id, ":")+1:]
	if name == "" {
		name = r.name(p.TopicName, 256)
	}
	if !topicName.MatchString(name) {
		return made{}, fmt.Errorf("TopicName %.100q: want up to 256 letters, digits, hyphens or underscores; FIFO topics are not implemented", name)
	}
	arn := r.arn("sns", name)
	return made{id: arn, attributes: map[string]any{"TopicArn": arn, "TopicName": name}}, nil
})

// topic refuses a missing topic.
func (r *request) topic(arn string) error {
	if !r.aws.Kept(snsTopic, arn) {
		return fmt.Errorf("there is no topic %s", arn)
	}
	return nil
}

type topicPolicyProperties struct {
	PolicyDocument any      `cfn:"required"`
	Topics         []string `cfn:"required"`
}

var topicPolicyType = kept([]string{"Id"}, func(r *request, p topicPolicyProperties) (made, error) {
	for _, arn := range p.Topics {
		if err := r.topic(arn); err != nil {
			return made{}, err
		}
	}
	id := r.generated("", 100)
	return made{id: id, attributes: map[string]any{"Id": id}}, nil
})

type subscriptionProperties struct {
	TopicArn            string `cfn:"required,replace"`
	Protocol            string `cfn:"required,replace"`
	Endpoint            string `cfn:"replace"`
	DeliveryPolicy      any
	FilterPolicy        any
	FilterPolicyScope   string
	RawMessageDelivery  bool
	RedrivePolicy       any
	SubscriptionRoleArn string
}

var subscriptionType = kept([]string{"Arn"}, func(r *request, p subscriptionProperties) (made, error) {
	if err := r.topic(p.TopicArn); err != nil {
		return made{}, err
	}
	// https://docs.aws.amazon.com/sns/latest/api/API_Subscribe.html
	protocols := []string{"http", "https", "email", "email-json", "sms", "sqs", "application", "lambda", "firehose"}
	switch {
	case !slices.Contains(protocols, p.Protocol):
		return made{}, fmt.Errorf("Protocol %.40q: want one of %s", p.Protocol, strings.Join(protocols, ", "))
	case p.RawMessageDelivery && !slices.Contains([]string{"http", "https", "sqs", "firehose"}, p.Protocol):
		return made{}, fmt.Errorf("RawMessageDelivery is not for the protocol %s", p.Protocol)
	case p.FilterPolicyScope != "" && p.FilterPolicyScope != "MessageAttributes" && p.FilterPolicyScope != "MessageBody":
		return made{}, fmt.Errorf("FilterPolicyScope %.40q: want MessageAttributes or MessageBody", p.FilterPolicyScope)
	case p.Protocol == "lambda":
		if _, err := r.function(p.Endpoint); err != nil {
			return made{}, err
		}
	}
	id := cmp.Or(r.id, p.TopicArn+":"+uuid.NewString())
	return made{id: id, attributes: map[string]any{"Arn": id}}, nil
})
