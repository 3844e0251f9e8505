package signals

// maxSignal is the highest number that kill(2) takes: SIGRTMAX. The real-time signals have no names of their own.
const maxSignal = 64
