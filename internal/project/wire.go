package project

import (
	"bytes"
	"encoding/json"
	"time"
)

// wireConfig is the form of a config in JSON.
type wireConfig struct {
	Name          string            `json:"name,omitempty"`
	Priority      int               `json:"priority"`
	Weight        float64           `json:"weight"`
	Schedule      wireSchedule      `json:"schedule,omitzero"`
	Command       []string          `json:"command,omitempty"`
	Env           map[string]string `json:"env,omitempty"`
	RunTimeout    *wireDuration     `json:"runTimeout,omitempty"`
	TimeSlice     *wireDuration     `json:"timeSlice,omitempty"`
	RetryAttempts *int              `json:"retryAttempts,omitempty"`
	RetryDelay    *wireDuration     `json:"retryDelay,omitempty"`
	Leftovers     string            `json:"leftovers,omitempty"`
	OnInterrupt   string            `json:"onInterrupt,omitempty"`
	Paused        bool              `json:"paused,omitempty"`
	Limits        json.RawMessage   `json:"limits,omitempty"`
	GitHub        wireGitHub        `json:"github,omitzero"`
}

type wireSchedule struct {
	CheckInterval *wireDuration `json:"checkInterval,omitempty"`
	Cron          string        `json:"cron,omitempty"`
	Timezone      string        `json:"timezone,omitempty"`
	ActiveHours   *ActiveHours  `json:"activeHours,omitempty"`
	Jitter        *wireDuration `json:"jitter,omitempty"`
}

type wireGitHub struct {
	Owner string `json:"owner,omitempty"`
	Repo  string `json:"repo,omitempty"`
}

// wireDuration is written in milliseconds if they suffice, otherwise as "1.5µs".
type wireDuration time.Duration

func (d wireDuration) MarshalJSON() ([]byte, error) {
	if v := time.Duration(d); v%time.Millisecond != 0 {
		return json.Marshal(v.String())
	}
	return json.Marshal(time.Duration(d).Milliseconds())
}

// MarshalJSON writes the config as it stands in projects.json. What is nil or
// empty is left out, priority and weight never are.
func (c Config) MarshalJSON() ([]byte, error) {
	w := wireConfig{
		Name:     c.Name,
		Priority: c.Priority,
		Weight:   c.Weight,
		Schedule: wireSchedule{
			CheckInterval: (*wireDuration)(c.CheckInterval),
			Cron:          c.Cron,
			Timezone:      c.Timezone,
			ActiveHours:   c.ActiveHours,
			Jitter:        (*wireDuration)(c.Jitter),
		},
		Command:       c.Command,
		Env:           c.Env,
		RunTimeout:    (*wireDuration)(c.RunTimeout),
		TimeSlice:     (*wireDuration)(c.TimeSlice),
		RetryAttempts: c.RetryAttempts,
		RetryDelay:    (*wireDuration)(c.RetryDelay),
		Leftovers:     c.Leftovers,
		OnInterrupt:   c.OnInterrupt,
		Paused:        c.Paused,
		Limits:        rawLimits(c.Limits),
		GitHub:        wireGitHub(c.GitHub),
	}
	if w.Weight == 0 {
		w.Weight = DefaultWeight
	}
	return marshal(w)
}

// marshal is json.Marshal that leaves <, > and & alone: people read this file.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
