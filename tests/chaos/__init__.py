"""The promises with real processes: killed, starved, fuzzed. Judged by what the provider recorded."""
