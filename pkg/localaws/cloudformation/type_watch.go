package cloudformation

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

const logGroup = "AWS::Logs::LogGroup"

type logGroupProperties struct {
	LogGroupName    string `cfn:"replace"`
	RetentionInDays int
	KmsKeyId        string
	LogGroupClass   string
	Tags            []tag
}

// retentions are the valid retention times of a log group, in days.
// https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html
var retentions = []int{0, 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653}

var logGroupType = kept([]string{"Arn"}, func(r *request, p logGroupProperties) (made, error) {
	if !slices.Contains(retentions, p.RetentionInDays) {
		return made{}, fmt.Errorf("RetentionInDays %d: want one of %v", p.RetentionInDays, retentions[1:])
	}
	name := r.generated(p.LogGroupName, 512)
	return made{id: name, attributes: map[string]any{"Arn": r.arn("logs", "log-group:"+name+":*")}}, nil
})

type metricFilterProperties struct {
	FilterName            string `cfn:"replace"`
	LogGroupName          string `cfn:"required,replace"`
	FilterPattern         string `cfn:"required"`
	MetricTransformations []struct {
		MetricName      string `cfn:"required"`
		MetricNamespace string `cfn:"required"`
		MetricValue     string `cfn:"required"`
		DefaultValue    *float64
		Unit            string
		Dimensions      []struct{ Key, Value string }
	} `cfn:"required"`
}

var metricFilterType = kept(nil, func(r *request, p metricFilterProperties) (made, error) {
	if !r.aws.Kept(logGroup, p.LogGroupName) {
		return made{}, errors.New("The specified log group does not exist.")
	}
	if len(p.MetricTransformations) != 1 {
		return made{}, errors.New("MetricTransformations: want one")
	}
	// https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_MetricTransformation.html
	if m := p.MetricTransformations[0]; len(m.Dimensions) > 3 || m.Dimensions != nil && m.DefaultValue != nil {
		return made{}, errors.New("MetricTransformations: want up to 3 Dimensions, and no DefaultValue beside them")
	}
	return made{id: r.generated(p.FilterName, 512)}, nil
})

type dimension struct {
	Name  string `cfn:"required"`
	Value string `cfn:"required"`
}

type alarmProperties struct {
	AlarmName               string `cfn:"replace"`
	AlarmDescription        string
	ActionsEnabled          *bool
	AlarmActions            []string
	OKActions               []string
	InsufficientDataActions []string
	ComparisonOperator      string `cfn:"required"`
	DatapointsToAlarm       int
	Dimensions              []dimension
	EvaluationPeriods       int `cfn:"required"`
	ExtendedStatistic       string
	MetricName              string
	Metrics                 []struct {
		Id         string `cfn:"required"`
		Expression string
		Label      string
		MetricStat any
		Period     int
		ReturnData *bool
	}
	Namespace        string
	Period           int
	Statistic        string
	Tags             []tag
	Threshold        *float64
	TreatMissingData string
	Unit             string
}

// check applies the rules of PutMetricAlarm. Anomaly detection alarms, which
// have no threshold, are not implemented.
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
func (p *alarmProperties) check() error {
	for name, word := range map[string]struct {
		value   string
		allowed []string
	}{
		"ComparisonOperator": {p.ComparisonOperator, []string{"GreaterThanOrEqualToThreshold", "GreaterThanThreshold", "LessThanThreshold", "LessThanOrEqualToThreshold"}},
		"Statistic":          {p.Statistic, []string{"", "SampleCount", "Average", "Sum", "Minimum", "Maximum"}},
		"TreatMissingData":   {p.TreatMissingData, []string{"", "breaching", "notBreaching", "ignore", "missing"}},
	} {
		if !slices.Contains(word.allowed, word.value) {
			return fmt.Errorf("%s %.80q: want one of %q", name, word.value, word.allowed)
		}
	}
	switch {
	case (p.MetricName == "") == (p.Metrics == nil):
		return errors.New("want a MetricName or Metrics")
	case p.MetricName != "" && (p.Namespace == "" || (p.Statistic == "") == (p.ExtendedStatistic == "")):
		return errors.New("MetricName: want a Namespace beside it, and a Statistic or an ExtendedStatistic")
	case p.MetricName != "" && p.Period != 10 && p.Period != 20 && p.Period != 30 && (p.Period < 60 || p.Period%60 != 0):
		return errors.New("Period: want 10, 20, 30 or a multiple of 60")
	case p.Threshold == nil:
		return errors.New("Threshold is missing")
	case p.EvaluationPeriods < 1 || p.DatapointsToAlarm < 0 || p.DatapointsToAlarm > p.EvaluationPeriods:
		return errors.New("want EvaluationPeriods of 1 or more, and DatapointsToAlarm of at most as many")
	case len(p.Dimensions) > 30:
		return errors.New("Dimensions: at most 30 are allowed")
	case max(len(p.AlarmActions), len(p.OKActions), len(p.InsufficientDataActions)) > 5:
		return errors.New("at most 5 actions are allowed")
	}
	return nil
}

var alarmType = kept([]string{"Arn"}, func(r *request, p alarmProperties) (made, error) {
	if err := p.check(); err != nil {
		return made{}, err
	}
	for _, action := range slices.Concat(p.AlarmActions, p.OKActions, p.InsufficientDataActions) {
		if !strings.HasPrefix(action, "arn:") {
			return made{}, fmt.Errorf("action %.200q: want an ARN", action)
		}
	}
	name := r.generated(p.AlarmName, 255)
	return made{id: name, attributes: map[string]any{"Arn": r.arn("cloudwatch", "alarm:"+name)}}, nil
})

type dashboardProperties struct {
	DashboardName string `cfn:"replace"`
	DashboardBody string `cfn:"required"`
}

var dashboardType = kept(nil, func(r *request, p dashboardProperties) (made, error) {
	if !json.Valid([]byte(p.DashboardBody)) {
		return made{}, errors.New("DashboardBody: want a JSON document")
	}
	return made{id: r.generated(p.DashboardName, 255)}, nil
})
