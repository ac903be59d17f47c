"""Measures the portal at size, each figure beside the physical limit of the same machine in the same run."""
