"""LoRaWAN frames against an independent implementation: pamoja-lorawan, whose engine is written in Rust (L4, L9)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pamoja import lorawan as other

from codec.lorawan.frames import DataFrame, JoinAccept, JoinRequest, SealedJoinAccept, parse
from codec.lorawan.keys import session_keys
from codec.lorawan.mac import Direction

KEYS = st.binary(min_size=16, max_size=16)
EUIS = st.binary(min_size=8, max_size=8)
ADDRESSES = st.integers(0, 2**32 - 1)


@given(
    up=st.booleans(), dev_addr=ADDRESSES, fcnt=st.integers(0, 2**32 - 1), nwk=KEYS, app=KEYS, port=st.integers(1, 223),
    payload=st.binary(max_size=200), fopts=st.binary(max_size=15), flags=st.tuples(*[st.booleans()] * 4),
)  # fmt: skip
def test_data_frames_are_the_same_bytes_and_read_the_same(
    *,
    up: bool,
    dev_addr: int,
    fcnt: int,
    nwk: bytes,
    app: bytes,
    port: int,
    payload: bytes,
    fopts: bytes,
    flags: tuple[bool, bool, bool, bool],
) -> None:
    confirmed, adr, ack, fpending = flags
    fpending = fpending and not up
    ours = DataFrame.sealed(
        direction=Direction.UPLINK if up else Direction.DOWNLINK, dev_addr=dev_addr, fcnt=fcnt, nwk_skey=nwk,
        app_skey=app, fport=port, payload=payload, fopts=fopts, confirmed=confirmed, adr=adr, ack=ack,
        fpending=fpending,
    )  # fmt: skip
    session = other.session(dev_addr, nwk, app)
    options: dict[str, Any] = {"confirmed": confirmed, "adr": adr, "ack": ack, "fopts": fopts}
    if up:
        theirs = session.encode_uplink(fcnt, port, payload, **options)
    else:
        theirs = session.encode_downlink(fcnt, port, payload, fpending=fpending, **options)
    assert ours.build() == theirs

    header = other.parse_header(ours.build())
    read = parse(theirs)
    assert isinstance(read, DataFrame)
    assert (header.dev_addr, header.fcnt, header.fport) == (read.dev_addr, read.fcnt16, read.fport)
    assert (header.confirmed, header.adr, header.ack) == (read.confirmed, read.adr, read.ack)
    assert (header.fopts_len, header.payload_len) == (len(read.fopts), len(read.frm_payload))
    opened = session.decode(theirs, fcnt)
    assert read.verify(nwk, fcnt)
    assert (opened.payload, opened.fopts) == (read.decrypt(nwk_skey=nwk, app_skey=app, fcnt=fcnt), read.fopts)


@given(key=KEYS, dev_eui=EUIS, app_eui=EUIS, dev_nonce=st.integers(0, 2**16 - 1))
def test_join_requests_are_the_same_bytes(key: bytes, dev_eui: bytes, app_eui: bytes, dev_nonce: int) -> None:
    request = JoinRequest(app_eui.hex().upper(), dev_eui.hex().upper(), dev_nonce)
    found = other.parse_join_request(request.build(key), key)
    assert (found.dev_eui, found.app_eui, found.dev_nonce) == (dev_eui, app_eui, dev_nonce)
    theirs = other.device(dev_eui, app_eui, key).join_request(dev_nonce)
    assert theirs == request.build(key)
    read = parse(theirs)
    assert isinstance(read, JoinRequest)
    assert read.verify(key)


@given(
    key=KEYS, app_nonce=st.integers(0, 2**24 - 1), net_id=st.integers(0, 2**24 - 1), dev_addr=ADDRESSES,
    dev_nonce=st.integers(0, 2**16 - 1), offset=st.integers(0, 7), rate=st.integers(0, 15), delay=st.integers(1, 15),
    channels=st.lists(st.integers(0, 2**24 - 1), min_size=5, max_size=5) | st.just([]),
)  # fmt: skip
def test_join_accepts_and_session_keys_are_the_same(
    *,
    key: bytes,
    app_nonce: int,
    net_id: int,
    dev_addr: int,
    dev_nonce: int,
    offset: int,
    rate: int,
    delay: int,
    channels: list[int],
) -> None:
    accept = JoinAccept(
        app_nonce, net_id, dev_addr, rx1_dr_offset=offset, rx2_data_rate=rate, rx_delay=delay,
        cf_list=tuple(channel * 100 for channel in channels),
    )  # fmt: skip
    frequencies = b"".join(channel.to_bytes(3, "little") for channel in channels) + b"\0" if channels else None
    grant = other.grant(app_nonce, net_id, dev_addr, offset << 4 | rate, delay, frequencies)
    wire = grant.accept(key, dev_nonce)
    assert wire == accept.build(key)
    sealed = parse(wire)
    assert isinstance(sealed, SealedJoinAccept)
    assert sealed.open(key) == accept

    nwk, app = session_keys(key, app_nonce, net_id, dev_nonce)
    theirs = grant.session(key, dev_nonce).encode_uplink(1, 1, b"proof")
    read = parse(theirs)
    assert isinstance(read, DataFrame)
    assert read.verify(nwk, 1)
    assert read.decrypt(nwk_skey=nwk, app_skey=app, fcnt=1) == b"proof"


@given(data=st.binary(min_size=12, max_size=60), mtype=st.sampled_from([2, 3, 4, 5]))
def test_any_header_is_read_the_same(data: bytes, mtype: int) -> None:
    frame = bytes([mtype << 5]) + data[1:]
    options = frame[5] & 15
    # What the specification forbids (FOpts beside FPort 0) and cut frames: each refuses in its own way.
    assume(8 + options <= len(frame) - 4 and not (options and 8 + options < len(frame) - 4 and frame[8 + options] == 0))
    ours, theirs = parse(frame), other.parse_header(frame)
    assert isinstance(ours, DataFrame)
    assert (ours.dev_addr, ours.fcnt16, ours.fport) == (theirs.dev_addr, theirs.fcnt, theirs.fport)
    assert (ours.adr, ours.ack, ours.confirmed) == (theirs.adr, theirs.ack, theirs.confirmed)
    if ours.direction is Direction.DOWNLINK:
        assert ours.fpending == theirs.fpending


def test_a_wrong_key_is_refused_by_both() -> None:
    wire = other.session(1, bytes(16), bytes(16)).encode_uplink(1, 1, b"x")
    read = parse(wire)
    assert isinstance(read, DataFrame)
    assert not read.verify(bytes([1]) * 16, 1)
    with pytest.raises(Exception, match=r"(?i)mic"):
        other.session(1, bytes([1]) * 16, bytes(16)).decode(wire, 1)
