"""Device types and devices: All Devices, the Add Device wizard, the detail page, registration on networks."""
