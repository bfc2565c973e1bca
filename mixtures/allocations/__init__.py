"""Allocations: how the labels z arise, one file each."""
