"""Health and readiness (Y3): whether the process lives, and whether it can serve."""

from __future__ import annotations

import redis
from django.db import Error, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone

from accounts.access import public
from common import partitions
from devices import live


@public("a load balancer asks without an account; nothing of a Project is in the answer")
def healthz(request: HttpRequest) -> HttpResponse:
    return HttpResponse("ok", content_type="text/plain")


@public("a load balancer asks without an account; nothing of a Project is in the answer")
def readyz(request: HttpRequest) -> HttpResponse:
    """200 where PostgreSQL and Redis answer, 503 with the names of those that do not. ``degraded``: what somebody has
    to look at while all works, such as day partitions that are not made far enough ahead."""
    down: list[str] = []
    degraded: list[str] = []
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        degraded = partitions.alarms(timezone.now())
    except Error:
        down.append("postgresql")
    try:
        live.client().ping()
    except redis.RedisError:
        down.append("redis")
    return JsonResponse({"ready": not down, "down": down, "degraded": degraded}, status=503 if down else 200)
