"""One public plot a file: each takes a finished table or tree and returns a matplotlib Figure."""
