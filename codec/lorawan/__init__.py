"""LoRaWAN 1.0.x on the wire: frames and their cryptography, MAC commands, the EU868 region."""
