"""Delivery: archives come from the source to this disk.

This room is what `make download` does. It plans which archives of which tiles are to be fetched, looks whether they
fit, fetches several at once, proves each of them right before it gets its name, and stamps `downloaded/TILE`.
"""
