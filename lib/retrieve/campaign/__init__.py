"""Campaign: runs that start other runs.

This room looks after downloads of days or weeks: `make watch` with its rounds, `make submit` with its batch jobs, and
`make doctor`, which checks beforehand whether everything is there. All of them call Make.
"""
