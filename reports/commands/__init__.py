"""The command line: one command of the shell a file; `app` gathers them, `options` and `terminal` are what they share."""
