"""The ascent: the loop that climbs an objective over sufficient statistics, where it starts, and how it is sped up.

Written once for all families, allocations and methods; a method says how the natural parameters follow from the statistics.
"""
