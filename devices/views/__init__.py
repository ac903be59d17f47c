"""The device screens: All Devices, the Add Device wizard, the detail page with its cards and tabs."""
