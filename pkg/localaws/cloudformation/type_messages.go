package cloudformation

import (
	"errors"
	"fmt"
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

var queueType = kept([]string{"Arn", "QueueName", "QueueUrl"}, func(r *request, p queueProperties) (made, error) {
	name := r.id[strings.LastIndex(r.id, "/")+1:]
	if name == "" {
		if name = r.name(p.QueueName, 75); p.FifoQueue && p.QueueName == "" {
			name += ".fifo"
		}
	}
	if p.FifoQueue != strings.HasSuffix(name, ".fifo") {
		return made{}, errors.New("the name of a FIFO queue, and of no other, ends in .fifo")
	}
	if t := p.VisibilityTimeout; t != nil && (*t < 0 || *t > 43200) {
		return made{}, errors.New("VisibilityTimeout: want 0 to 43200")
	}
	if p.RedrivePolicy != nil {
		arn, _ := p.RedrivePolicy["deadLetterTargetArn"].(string)
		if err := r.destination(arn); err != nil {
			return made{}, fmt.Errorf("RedrivePolicy: %w", err)
		}
	}
	url := r.queueURL(name)
	return made{id: url, attributes: map[string]any{"Arn": r.arn("sqs", name), "QueueName": name, "QueueUrl": url}}, nil
})

func (r *request) queueURL(name string) string {
	return "https://sqs." + r.aws.AWSConfig().Region + ".amazonaws.com/" + localaws.Account + "/" + name
}

// destination refuses the ARN of a queue or a topic that is not there.
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
	arn := r.arn("sns", name)
	return made{id: arn, attributes: map[string]any{"TopicArn": arn, "TopicName": name}}, nil
})

// topic refuses a topic that is not there.
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
	if p.Protocol == "lambda" {
		if _, err := r.function(p.Endpoint); err != nil {
			return made{}, err
		}
	}
	id := r.id
	if id == "" {
		id = p.TopicArn + ":" + uuid.NewString()
	}
	return made{id: id, attributes: map[string]any{"Arn": id}}, nil
})
