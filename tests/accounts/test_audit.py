"""P6: the audit trail stands or falls with the change it records."""

from __future__ import annotations

import pytest
from django.db import transaction

from accounts import audit
from accounts.models import AuditEntry
from devices import services
from devices.models import Device
from tests import factories
from tests.cast import Cast


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("unscoped")
def test_record_outside_a_transaction_is_an_error(cast: Cast) -> None:
    with pytest.raises(RuntimeError):
        audit.record(project_id=cast.project.pk, actor=None, action="x", target="y")
    assert not AuditEntry.objects.exists()


@pytest.mark.usefixtures("unscoped")
def test_moment_of_a_deactivation_is_kept(cast: Cast) -> None:
    device = factories.device(cast.project, in_flow=factories.flow(cast.project))
    services.deactivate(device=device, actor=cast.operator)
    entry = AuditEntry.objects.filter(device_id=device.pk).latest("pk")
    assert (entry.action, entry.actor_label) == ("device.deactivated", "operator@example.com")
    assert (entry.before, entry.after) == ({"processing": "active"}, {"processing": "deactivated"})


@pytest.mark.usefixtures("unscoped")
def test_change_that_fails_leaves_no_record(cast: Cast) -> None:
    device = factories.device(cast.project, name="As it was")
    before = AuditEntry.objects.count()
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        services.edit_device(device=device, actor=cast.operator, name="Other", description="")
        raise ZeroDivisionError
    assert AuditEntry.objects.count() == before
    assert Device.objects.get(pk=device.pk).name == "As it was"


def test_trail_of_another_project_is_not_seen(cast: Cast) -> None:
    from django_scopes import ScopeError, scope, scopes_disabled

    with scopes_disabled():
        factories.device(cast.elsewhere)
    with pytest.raises(ScopeError):
        AuditEntry.objects.count()
    with scope(project=[cast.project.pk]):
        assert AuditEntry.objects.count() == 0
    with scope(project=[cast.elsewhere.pk]):
        assert AuditEntry.objects.count() == 1
