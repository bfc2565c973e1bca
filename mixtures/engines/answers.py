"""What a fitted mixture says of rows: labels, responsibilities or log densities; the loops are in `loops.answers`."""

from mixtures.engines.objects import loops

KINDS = ("d2", ("d1", "d2", "d3", "d1", "?"), "q1=", "d2=", "d1=")

(answer,) = loops("answers", answer=KINDS)
