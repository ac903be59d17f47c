"""What the simulated network tells: its exchanges on air as the neutral events of lora.events."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from codec.lorawan import eu868
from lora.events import DownlinkAcknowledged, DownlinkFailed, DownlinkSent, Event, JoinAccept, JoinRequest, Uplink

from . import air
from .server import Downlink, Heard, HeardJoin, Queued

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class Exchange:
    """An uplink and the windows after it. ``heard`` and ``solved`` as in air.py; ``accept``: a join-accept."""

    phy: bytes
    frequency: int
    channel: int
    rate: int
    joining: bool
    heard: list[list[float]]
    solved: list[float] | None
    accept: bytes = b""
    dev_addr: int = 0


def moment(microseconds: int) -> datetime:
    return EPOCH + timedelta(microseconds=microseconds)


def downlink_rate(exchange: Exchange, window: str) -> int:
    return eu868.rx1_data_rate(exchange.rate) if window == "RX1" else eu868.RX2_DATA_RATE


def uplink(heard: Heard, exchange: Exchange, now: int) -> list[Event]:
    """The frame, and the fate of a confirmed downlink where the frame decides it."""
    frame, dev_eui, at = heard.frame, heard.registration.dev_eui, moment(now)
    told: list[Event] = [
        Uplink(
            dev_eui=dev_eui,
            at=at,
            fcnt=heard.fcnt,
            fport=frame.fport,
            payload=heard.payload,
            mac=heard.mac,
            confirmed=frame.confirmed,
            ack=frame.ack,
            adr=frame.adr,
            adr_ack_req=frame.adr_ack_req,
            class_b=frame.class_b,
            location=air.location(exchange.solved),
            mic=frame.mic.hex().upper(),
            dev_addr=f"{frame.dev_addr:08X}",
            **_up(exchange),
        )
    ]
    if item := heard.acknowledged:
        told.append(DownlinkAcknowledged(dev_eui=dev_eui, at=at, correlation_id=item.correlation_id, fcnt=item.fcnt))
    if item := heard.failed:
        told.append(
            DownlinkFailed(
                dev_eui=dev_eui,
                at=at,
                correlation_id=item.correlation_id,
                cause="NO_ACK",
                reason=f"Sent {item.tries} times, and the device did not acknowledge it.",
            )
        )
    return told


def join_request(heard: HeardJoin, exchange: Exchange, now: int) -> JoinRequest:
    request = heard.request
    return JoinRequest(
        dev_eui=request.dev_eui,
        at=moment(now),
        app_eui=request.app_eui,
        dev_nonce=request.dev_nonce,
        mic=request.mic.hex().upper(),
        **_up(exchange),
    )


def join_accept(dev_eui: str, exchange: Exchange, window: str, now: int) -> JoinAccept:
    return JoinAccept(
        dev_eui=dev_eui,
        at=moment(now),
        dev_addr=f"{exchange.dev_addr:08X}",
        **_down(exchange, window),
    )


def downlink(sent: Downlink, dev_eui: str, exchange: Exchange, window: str, now: int) -> DownlinkSent:
    return DownlinkSent(
        dev_eui=dev_eui,
        at=moment(now),
        fcnt=sent.fcnt,
        fport=sent.frame.fport,
        payload=sent.item.payload if sent.item else b"",
        mac=sent.mac,
        confirmed=sent.frame.confirmed,
        ack=sent.frame.ack,
        adr=sent.frame.adr,
        fpending=sent.frame.fpending,
        correlation_id=sent.item.correlation_id if sent.item else "",
        mic=sent.frame.mic.hex().upper(),
        dev_addr=f"{sent.frame.dev_addr:08X}",
        **_down(exchange, window),
    )


def too_large(item: Queued, dev_eui: str, room: int, now: int) -> DownlinkFailed:
    return DownlinkFailed(
        dev_eui=dev_eui,
        at=moment(now),
        correlation_id=item.correlation_id,
        cause="TOO_LARGE",
        reason=f"{len(item.payload)} bytes, and the device's data rate carries {room}.",
    )


def _up(exchange: Exchange) -> dict[str, Any]:
    rate = eu868.DATA_RATES[exchange.rate]
    return {
        "spreading_factor": rate.spreading_factor,
        "bandwidth_khz": rate.bandwidth_khz,
        "frequency_hz": exchange.frequency,
        "channel": f"LC{exchange.channel + 1}",
        "receptions": air.receptions(exchange.heard),
        "gateway_count": len(exchange.heard),
    }


def _down(exchange: Exchange, window: str) -> dict[str, Any]:
    """The gateway that heard the device best sends; in RX1 on the uplink's own channel."""
    rate, first = eu868.DATA_RATES[downlink_rate(exchange, window)], window == "RX1"
    return {
        "spreading_factor": rate.spreading_factor,
        "bandwidth_khz": rate.bandwidth_khz,
        "frequency_hz": exchange.frequency if first else eu868.RX2_FREQUENCY,
        "channel": f"LC{exchange.channel + 1}" if first else "RX2",
        "window": window,
        "gateway": air.GATEWAYS[int(exchange.heard[0][0])].eui,
    }
