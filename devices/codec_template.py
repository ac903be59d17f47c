"""The text that a new codec begins with. It runs as it is."""

from __future__ import annotations

from typing import Final

TEMPLATE: Final = """\
// What the device sends: decodeUplink gets its bytes and gives what they mean.
// input.bytes is a list of numbers from 0 to 255, input.fPort the FPort, input.recvTime a Date.
function decodeUplink(input) {
  var bytes = input.bytes;
  if (bytes.length < 3) {
    return { errors: ["Three bytes at least are wanted."] };
  }
  return {
    data: {
      // Two bytes, the most significant first, in tenths of a degree, may be below zero.
      temperature: ((bytes[0] << 24 >> 16) | bytes[1]) / 10,
      humidity: bytes[2],
    },
  };
}

// What the device is told: encodeDownlink gets what is to be sent as input.data, such as { interval: 15 },
// and gives its bytes and the FPort.
function encodeDownlink(input) {
  var minutes = input.data.interval;
  if (!(minutes >= 1 && minutes <= 1440)) {
    return { errors: ["The interval is from 1 to 1440 minutes."] };
  }
  return { fPort: 10, bytes: [minutes >> 8, minutes & 255] };
}
"""
