"""What is so, in plain text: reasons, fleets, machines, vetoes, changes, times. Whoever shows it escapes it there."""
