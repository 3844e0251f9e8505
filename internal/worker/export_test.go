package worker

// WithoutReaper returns the options with the subreaper switched off.
func (o Options) WithoutReaper() Options {
	o.noReaper = true
	return o
}

// Environment is what a run's command finds in its environment.
var Environment = environment
