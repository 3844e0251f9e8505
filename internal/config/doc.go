// Package config holds the settings of the daemon: what they are, where they
// come from, and how one of them is changed in the user's own file.
//
//	loaded, err := config.Load(config.Options{File: paths.Config, Args: flags.Args()})
//	if err != nil {
//		return err // every fault at once, with file, line, key and what is allowed
//	}
//	pool := loaded.Daemon.MaxProcesses
//
// # Sources
//
// A flag wins over the environment, the environment over the file, the file
// over the default. Every key can be given in each of them:
//
//	--daemon.maxProcesses=4
//	POPPOBUILDER_DAEMON_MAXPROCESSES=4
//	{"daemon": {"maxProcesses": 4}}
//
// No key is required: a missing file, an empty one and {} mean the defaults.
// All sources are checked, also where another one wins, so that a mistake is
// found when it is made and not when the flag that hid it goes away.
//
// # The file
//
// JSON with comments and trailing commas, UTF-8, at most [MaxFileSize] bytes.
// Durations are milliseconds (30000) or text ("30s", "1h30m", "7d"), sizes
// are bytes or text ("10M", powers of 1024). Keys of the ancestor that mean
// nothing here load without complaint and are listed as [Ignored].
//
// # Changing it
//
// [Set] and [Unset] edit the text of the file: everything but the value in
// question stays as it was, byte for byte. They write nothing that does not
// validate, replace the file in one step, and lose nothing when two of them
// run at once.
//
// One table, [Keys], drives defaults, flags, environment, validation, schema,
// listing and help.
package config
