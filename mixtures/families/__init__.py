"""Emission families: each file is one likelihood with its conjugate prior."""
