"""A 2xx means kept: the web process is killed right after its answer, and the message still arrives."""

from __future__ import annotations

from pathlib import Path

import pytest

from codec import tokens
from devices.models import SenmlMessage
from ingest import stream
from lora.models import Frame
from tests import factories
from tests.cast import Cast
from tests.ingest.conftest import M2M, THINGPARK, fresh_stores, now, pack, push, report, thingpark_network
from tests.processes import kill, running, wait_for
from tests.things_portal.test_asgi import Server, free_port

__all__ = ["fresh_stores"]
DEV_EUI = "0059AC000017338B"
pytestmark = [pytest.mark.stack, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("unscoped")]


def listens(server: Server) -> bool:
    try:
        server.connect().close()
    except OSError:
        return False
    return True


def test_answered_messages_survive_the_death_of_the_web(cast: Cast, tmp_path: Path) -> None:
    thingpark_network()
    lora = factories.lora_device(cast.project, dev_eui=DEV_EUI)
    m2m = factories.m2m_device(cast.project)
    server = Server(free_port(), tmp_path / "web.log")
    command = ("-m", "granian", "--interface", "asgi", "--host", "127.0.0.1", "--port", str(server.port))
    with running(*command, "things_portal.asgi:application", log=server.log) as web:
        wait_for(lambda: listens(server), "the server to listen", log=server.log)
        body = pack(m2m, {"n": "temperature", "v": 21.5})
        proof = f"Things-Message-Token: {tokens.message_token(body, factories.SECRET)}"
        assert server.post(M2M, body, proof)[0] == 200
        query, pushed = push(report("uplink-with-token", DEV_EUI, now()), now())
        assert server.post(f"{THINGPARK}?{query}", pushed)[0] == 200
        kill(web)
    assert stream.backlog() == 2
    log = tmp_path / "consumer.log"
    with running("manage.py", "ingest_consumer", log=log):
        wait_for(lambda: stream.backlog() == 0, "the stream to be empty", seconds=30, log=log)
    assert Frame.objects.filter(device_id=lora.pk).count() == 1
    assert SenmlMessage.objects.filter(device_id=m2m.pk).count() == 1
