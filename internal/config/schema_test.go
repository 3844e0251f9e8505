package config_test

import (
	"bytes"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/tailscale/hujson"

	"github.com/poppobuilder/poppobuilder/internal/config"
)

func TestSchema(t *testing.T) {
	t.Parallel()
	text := config.Schema()
	if !bytes.Equal(text, config.Schema()) {
		t.Error("two calls differ")
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("config.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("config.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	type verdict struct{ load, schema bool }
	good, bad := verdict{true, true}, verdict{false, false}
	blind := verdict{false, true} // what Schema says that a schema cannot see
	for _, test := range []struct {
		text string
		want verdict
	}{
		{`{}`, good},
		{ancestors, good},
		{string(config.Template()), good},
		{`{"$schema": "x"}`, good},
		{`{"version": 7, "resources": null, "logging": {"directory": []}}`, good},
		{`{"daemon": {"schedulingStrategy": "deadline-aware"}, "defaults": {"checkInterval": 30000}}`, good},
		{`{"daemon": {"schedulingStrategy": "weighted-round-robin"}}`, good},
		{`{"daemon": {"schedulingStrategy": "lottery"}}`, bad},
		{`{"defaults": {"timeSlice": 0, "command": ["agent", "{dir}"]}}`, good},
		{`{"defaults": {"timeSlice": "5m"}}`, good},
		{`{"defaults": {"timeSlice": 1}}`, bad},
		{`{"defaults": {"command": [""]}}`, bad},
		{`{"daemon": {"maxProcesses": 1}}`, good},
		{`{"daemon": {"maxProcesses": 2.0}}`, good},
		{`{"daemon": {"maxProcesses": 1e1}}`, good},
		{`{"daemon": {"port": null}}`, good},
		{`{"daemon": {"port": 0}}`, good},
		{`{"daemon": {"host": "localhost"}}`, good},
		{`{"daemon": {"host": "127.9.9.9"}}`, good},
		{`{"daemon": {"host": "::ffff:127.0.0.1"}}`, good},
		{`{"daemon": {"shutdownTimeout": 0}}`, good},
		{`{"daemon": {"shutdownTimeout": "1h30m"}}`, good},
		{`{"daemon": {"shutdownTimeout": ".5s"}}`, good},
		{`{"daemon": {"shutdownTimeout": "1.s"}}`, good},
		{`{"daemon": {"shutdownTimeout": "5000µs"}}`, good},
		{`{"daemon": {"shutdownTimeout": "30000"}}`, good},
		{`{"daemon": {"worker": {"heartbeatTimeout": 0}}}`, good},
		{`{"daemon": {"worker": {"heartbeatTimeout": 1000}}}`, good},
		{`{"daemon": {"worker": {"command": []}}}`, good},
		{`{"daemon": {"worker": {"command": ["a", ""]}}}`, good},
		{`{"daemon": {"restart": {"jitter": 1}}}`, good},
		{`{"logging": {"maxSize": "10mib"}}`, good},
		{`{"logging": {"maxSize": "4096B"}}`, good},
		{`{"logging": {"maxAge": "30d"}}`, good},

		{`[]`, bad},
		{`null`, bad},
		{`{"zebra": 1}`, bad},
		{`{"$schema": 1}`, bad},
		{`{"daemon": null}`, bad},
		{`{"daemon": {"zebra": 1}}`, bad},
		{`{"daemon": {"maxProcesses": 0}}`, bad},
		{`{"daemon": {"maxProcesses": 11}}`, bad},
		{`{"daemon": {"maxProcesses": 1.5}}`, bad},
		{`{"daemon": {"maxProcesses": "2"}}`, bad},
		{`{"daemon": {"maxProcesses": null}}`, bad},
		{`{"daemon": {"enabled": "true"}}`, bad},
		{`{"daemon": {"port": 65536}}`, bad},
		{`{"daemon": {"port": "null"}}`, bad},
		{`{"daemon": {"host": ""}}`, bad},
		{`{"daemon": {"host": "a b"}}`, bad},
		{`{"daemon": {"host": "example.org"}}`, bad},
		{`{"daemon": {"host": "0.0.0.0"}}`, bad},
		{`{"daemon": {"host": "::1%lo"}}`, bad},
		{`{"daemon": {"schedulingStrategy": "Fair"}}`, bad},
		{`{"daemon": {"shutdownTimeout": -1}}`, bad},
		{`{"daemon": {"shutdownTimeout": 86400001}}`, bad},
		{`{"daemon": {"shutdownTimeout": 0.5}}`, bad},
		{`{"daemon": {"shutdownTimeout": "-1s"}}`, bad},
		{`{"daemon": {"shutdownTimeout": "-0s"}}`, bad},
		{`{"daemon": {"shutdownTimeout": "+1s"}}`, bad},
		{`{"daemon": {"shutdownTimeout": " 1s"}}`, bad},
		{`{"daemon": {"shutdownTimeout": "d"}}`, bad},
		{`{"daemon": {"shutdownTimeout": true}}`, bad},
		{`{"daemon": {"worker": {"heartbeatTimeout": 999}}}`, bad},
		{`{"daemon": {"worker": {"command": "node"}}}`, bad},
		{`{"daemon": {"worker": {"command": [""]}}}`, bad},
		{`{"daemon": {"worker": {"command": [1]}}}`, bad},
		{`{"daemon": {"worker": {"command": ["a", null]}}}`, bad},
		{`{"daemon": {"restart": {"multiplier": 0.5}}}`, bad},
		{`{"logging": {"maxSize": 1023}}`, bad},
		{`{"logging": {"maxSize": "10T"}}`, bad},
		{`{"logging": {"maxSize": "+10M"}}`, bad},
		{`{"logging": {"maxSize": ""}}`, bad},
		{`{"logging": {"maxSize": "M"}}`, bad},

		{`{"daemon": {"port": 1, "port": 1}}`, blind},
		{`{"daemon": {"shutdownTimeout": "25h"}}`, blind},
		{`{"daemon": {"shutdownTimeout": "1ns"}}`, blind},
		{`{"daemon": {"shutdownTimeout": ""}}`, bad},
		{`{"logging": {"maxSize": "2G"}}`, blind},
		{`{"logging": {"maxSize": "99999999999999999999G"}}`, blind},
		{`{"daemon": {"host": "a:1"}}`, blind},
		{`{"daemon": {"restart": {"maxDelay": 1}}}`, blind},
	} {
		_, loadErr := load(t, test.text)
		standard, err := hujson.Standardize([]byte(test.text))
		if err != nil {
			t.Fatal(err)
		}
		instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(standard))
		if err != nil {
			t.Fatal(err)
		}
		schemaErr := schema.Validate(instance)
		if got := (verdict{loadErr == nil, schemaErr == nil}); got != test.want {
			t.Errorf("%s: got %+v, want %+v\n load: %v\n schema: %v", test.text, got, test.want, loadErr, schemaErr)
		}
	}
}
