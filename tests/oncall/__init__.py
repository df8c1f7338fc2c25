"""What a person on call asks, and the one command that answers."""
