"""Internet: devices with a DvnUUID that send SenML over HTTPS."""
