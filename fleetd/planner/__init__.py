"""Decisions as functions of values: no ``await``, no clock, no randomness, no I/O."""
