"""What can go wrong with Flows, as errors that pages turn into sentences."""

from __future__ import annotations


class FlowGone(Exception):
    """The Flow was deleted, or is being deleted: nothing is linked to it or changed in it any more."""
