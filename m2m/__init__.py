"""M2M: devices with an IMEI and a SIM card."""
