"""How a session's person is read: with their Projects and roles, in one query, for every page asks for both."""

from __future__ import annotations

from typing import Any, Final

from django.contrib.auth.backends import ModelBackend

from common.standing import Standing

from .models import Membership, User

# Where a person that has been read keeps their memberships for the request.
HELD: Final = "held_memberships"


_memberships = Standing(
    lambda user_id: (
        Membership.objects.filter(user_id=user_id).select_related("project", "user").order_by("project__name")
    )
)


def memberships_of(user: User) -> list[Membership]:
    """The person's memberships by the Project's name: those read with the person, else one query."""
    held: list[Membership] | None = getattr(user, HELD, None)
    return _memberships(user_id=user.pk) if held is None else held


class PersonBackend(ModelBackend):
    """The framework's own, but for the query."""

    def get_user(self, user_id: Any) -> User | None:
        held = _memberships(user_id=user_id)
        user = held[0].user if held else User.objects.filter(pk=user_id).first()
        if user is None or not self.user_can_authenticate(user):
            return None
        setattr(user, HELD, held)
        return user
