"""The Device Twin: reported, desired, observed, metadata."""
