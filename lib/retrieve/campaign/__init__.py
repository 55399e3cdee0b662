"""Campaign: runs that start other runs.

This room holds what looks after a download of days or weeks: `make watch` with its rounds, `make submit` with its batch
jobs, and `make doctor`, which looks beforehand whether everything is there. All of them call Make.
"""
