package signals

// ListenTo is Listen with another source of signals, for tests that decide when they arrive.
var ListenTo = listen
