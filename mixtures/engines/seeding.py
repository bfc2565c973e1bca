"""Starts from k-means++ seeds, run by run; the loops are in `loops.seeding`."""

from mixtures.engines.objects import loops

KINDS = ("d2", "d1", "d2", "d2", "q", "?", "?1", "q", "d", "d", "q2=", "d3=")

(states,) = loops("seeding", states=KINDS)
