"""What a name server owes to any packet; __main__ runs it."""
