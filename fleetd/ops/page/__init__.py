"""The page at ``/``: documents in, one HTML page out, and word of every change by server-sent events."""
