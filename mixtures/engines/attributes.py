"""Means and covariances at a state, in the units of the data; the loops are in `loops.attributes`."""

from mixtures.engines.objects import loops

KINDS = ("d2", "q", "?", "d1", "d", "d", "d2", "d", "d1", "d2", "d2=", "d1=", "d1=", "d3=", "d3=", "d3=")

(describe,) = loops("attributes", describe=KINDS)
