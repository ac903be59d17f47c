"""Payloads and frames: SenML, ThingsML, CayenneLPP, LoRaWAN 1.0.x. Pure Python, no Django, no models."""
