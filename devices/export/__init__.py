"""All Devices as a file (D4, D11): where the rows come from, and the writers that stream them."""
