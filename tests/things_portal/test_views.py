"""Addresses that browsers ask for by themselves."""

from __future__ import annotations

import re

from django.test import Client


def test_icon_is_found_where_a_page_names_none() -> None:
    response = Client().get("/favicon.ico")
    assert response.status_code == 302
    assert re.search(r"/portal/img/mark[.\w]*\.svg$", response["Location"])
