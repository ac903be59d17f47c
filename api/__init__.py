"""The way in for programs: health and readiness, and the interface of devices."""
