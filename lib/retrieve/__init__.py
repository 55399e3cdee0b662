"""Bring the results of ShapePipe tiles home from a VOSpace container."""
