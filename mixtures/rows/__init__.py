"""Rows of data as they come, in one array or in blocks, and what a reading of them tells."""
