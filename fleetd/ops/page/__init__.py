"""The page at ``/``: reports in, one HTML page out, and word of every change by server-sent events."""
