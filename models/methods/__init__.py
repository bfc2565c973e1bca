"""Inference by PyMC: ADVI and NUTS."""
