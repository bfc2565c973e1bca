"""Inference methods: how the natural parameters follow from the sufficient statistics."""
