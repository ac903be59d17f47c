"""LoRa: identity and keys, registration on a network, frames, the LoRa card and tabs, the network servers."""
