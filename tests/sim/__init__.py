"""Deterministic simulation: whole days of the daemon as it ships, on virtual time, under every fault there is.

``python -m tests.sim --seeds 200`` runs it; docs/promises.md says what it proves.
"""
