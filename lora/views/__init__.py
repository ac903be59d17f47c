"""The screens of the LoRa tabs: the LoRa tab, the LoRa data history, one message of it."""
