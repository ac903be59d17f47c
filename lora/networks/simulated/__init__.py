"""A LoRaWAN network inside the portal's process group: real frames and keys, virtual devices, gateways and air."""
