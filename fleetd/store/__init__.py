"""The journal: durable memory, on one file."""
