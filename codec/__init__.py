"""Payloads and frames: SenML, ThingsML, CayenneLPP, LoRaWAN 1.0.x, JavaScript codecs. No Django, no models."""
