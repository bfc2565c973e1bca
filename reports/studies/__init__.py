"""Studies: many fits over a grid of settings, measured where the truth is known, each with a report of its own."""
