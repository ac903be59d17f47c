"""The way in for programs: health and readiness now, the REST interface next."""
