"""Idle sources: what can tell whether a machine is being used."""
