"""How the work grows with the account: ratios of two timings of one run. Nothing here is asserted."""
