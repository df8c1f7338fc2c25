"""Values that every other room speaks in. Standard library only; nothing here waits, reads or writes."""
