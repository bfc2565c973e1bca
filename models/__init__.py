"""PyMC twins of the mixtures in `mixtures`: the same model, priors and coordinates, for ADVI and NUTS.

`models.families` builds the `pymc.Model` of a family, `models.methods` fits it. Both are imported when needed.
"""
