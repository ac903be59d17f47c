"""Jobs over many devices (D4): asked for with an agreed number, carried out in sets, each device exactly once.

A set's changes, its items' outcomes and the job's counters are one transaction: a worker that dies leaves no half
set, and the next one goes on after the last that was committed.
"""
