"""Flows: what holds devices, decodes their data and leads it to destinations."""
