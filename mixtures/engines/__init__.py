"""Engines: who computes the one pass over the data."""
