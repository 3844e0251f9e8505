package worker

// WithoutReaper returns the options with the subreaper switched off.
func (o Options) WithoutReaper() Options {
	o.noReaper = true
	return o
}
