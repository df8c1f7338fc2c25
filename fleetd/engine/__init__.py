"""Observe, plan, act, wait: the pass and the daemon around it. Speaks to ports only."""
