"""The way in for networks and devices: accept durably, answer, then process in batches."""
