"""A faithful server of the provider's API, with a clock, faults and a call log."""
