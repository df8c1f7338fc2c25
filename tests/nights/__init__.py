"""Nights with hostile idle sources, and the chain of evidence that nobody's work was stopped in them."""
