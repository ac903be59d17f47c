"""Sessions as the framework keeps them in the database; a page reads its own by a query that stands."""

from __future__ import annotations

from typing import Any

from django.contrib.sessions.backends.db import SessionStore as DatabaseStore
from django.contrib.sessions.models import Session
from django.utils import timezone

from common.standing import Standing

_valid = Standing(lambda key, now: Session.objects.filter(session_key=key, expire_date__gt=now))


class SessionStore(DatabaseStore):
    def _get_session_from_db(self) -> Any:
        found = _valid(key=self.session_key, now=timezone.now())
        if found:
            return found[0]
        self._session_key = None
        return None
