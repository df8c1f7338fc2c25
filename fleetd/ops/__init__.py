"""What operations need: logging, metrics, HTTP endpoints, systemd."""
