"""The pages at ``/``: reports in, HTML out, and word of every change by server-sent events."""
