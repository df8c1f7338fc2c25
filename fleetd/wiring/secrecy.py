"""What is masked in everything that this process writes."""

from fleetd.ops.secrets import Secrets

SECRETS = Secrets()
"""Masked in every log line and error message of this process."""
