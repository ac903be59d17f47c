"""What is called a weak signal: the bars in rows and the diagnosis of a LoRa device use the same word from here on.

The source (the portal documentation) names no number: these are our own.
"""

from __future__ import annotations

from typing import Final

# Estimated signal power at the best gateway, in dBm; SF12 ends at about -137. The first leaves 12 dB to it, the usual
# margin for bad weather or something in the way; at the second most of that is gone. Above the first a low power is the
# network's own doing: it takes data rate and transmit power (ADR) to where 10 dB are left, which at SF9 is about -122.
WEAK_ESP: Final = -125.0
VERY_WEAK_ESP: Final = -130.0
