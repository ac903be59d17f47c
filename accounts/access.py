"""Who may open an address. Every view carries one of these marks; a check refuses to start without (P1, P2).

* :func:`public` – anybody, with the reason;
* :func:`signed_in` – any person, nothing of a Project;
* :func:`support_staff` – support staff, nothing of a Project;
* :func:`in_projects` – a person with a role; opens the scope (django-scopes) of the person's Projects, so that
  queries cannot see others. With ``resolve`` the object that the address names is looked up inside that scope:
  outside it the answer is 404, inside it with too weak a role 403. An object of several Projects (``project_ids``,
  such as a job over many devices) takes the role in every one of them: 404 where one is not the person's;
* :func:`for_programs` – the same for the interface of programs: every refusal is a problem document (RFC 9457).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, wraps
from http import HTTPStatus
from typing import Any, Concatenate, Protocol, cast

from django.contrib.auth.models import AnonymousUser
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.middleware.csrf import CsrfViewMiddleware
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt
from django_scopes import scope

from common.problems import Problem

from .backends import memberships_of
from .models import Membership, Project, Role, User

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
View = Callable[..., HttpResponse]
Decorator = Callable[[Callable[Concatenate[Any, ...], HttpResponse]], View]


@dataclass(frozen=True, slots=True)
class Access:
    """The mark on a view: what it takes to see and to change, for the system check and the access matrix."""

    kind: str
    reason: str = ""
    see: Role | None = None
    change: Role | None = None
    methods: tuple[str, ...] = ("GET",)
    names: str = ""
    # Refusals are problem documents, and nobody is led to the sign-in page.
    programs: bool = False


class Person:
    """The signed-in person's Projects and roles, read once per request, with the person."""

    def __init__(self, user: User) -> None:
        self.user = user

    @cached_property
    def memberships(self) -> dict[int, Membership]:
        return {row.project_id: row for row in memberships_of(self.user)}

    @property
    def projects(self) -> list[Project]:
        return [row.project for row in self.memberships.values()]

    def projects_with(self, role: Role) -> list[Project]:
        return [row.project for row in self.memberships.values() if Role(row.role).covers(role)]

    def role_in(self, project_id: int) -> Role | None:
        row = self.memberships.get(project_id)
        return Role(row.role) if row else None

    def may(self, role: Role, project_id: int) -> bool:
        held = self.role_in(project_id)
        return held is not None and held.covers(role)

    def weakest_role_in(self, project_ids: Sequence[int]) -> Role | None:
        """The role that the person has in all of these Projects; None where there is one without, or none at all."""
        held = [self.role_in(pk) for pk in project_ids]
        return None if None in held else min(filter(None, held), key=lambda role: role.rank, default=None)

    def may_somewhere(self, role: Role) -> bool:
        return any(Role(row.role).covers(role) for row in self.memberships.values())


class PersonRequest(HttpRequest):
    """A request that passed :func:`in_projects`."""

    person: Person
    user: User
    can_change: bool


class InProject(Protocol):
    @property
    def project_id(self) -> int: ...


class InSeveralProjects(Protocol):
    @property
    def project_ids(self) -> Sequence[int]: ...


Found = InProject | InSeveralProjects
Resolver = Callable[[Mapping[str, Any]], tuple[str, Found]]


def _mark(view: View, access: Access) -> View:
    view.access = access  # type: ignore[attr-defined]
    return view


def public(reason: str, *, methods: tuple[str, ...] = ("GET",)) -> Decorator:
    """Open to anybody; the reason is part of the code."""

    def decorate(function: View) -> View:
        @wraps(function)
        def view(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            return _method_refused(request, methods) or function(request, *args, **kwargs)

        return _mark(view, Access("public", reason=reason, methods=methods))

    return decorate


def signed_in(*, methods: tuple[str, ...] = ("GET",)) -> Decorator:
    """For any person, about nothing but themselves."""

    def decorate(function: View) -> View:
        @wraps(function)
        def view(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if isinstance(request.user, AnonymousUser):
                return to_sign_in(request)
            return _method_refused(request, methods) or function(request, *args, **kwargs)

        return _mark(view, Access("signed in", methods=methods))

    return decorate


def support_staff(*, methods: tuple[str, ...] = ("GET",)) -> Decorator:
    """For support staff outside the Django admin; for everybody else there is no such page."""

    def decorate(function: View) -> View:
        @wraps(function)
        def view(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if isinstance(request.user, AnonymousUser):
                return to_sign_in(request)
            if not request.user.is_staff:
                raise Http404
            return _method_refused(request, methods) or function(request, *args, **kwargs)

        return _mark(view, Access("support staff", methods=methods))

    return decorate


def in_projects(
    see: Role = Role.VIEWER,
    *,
    change: Role = Role.OPERATOR,
    methods: tuple[str, ...] = ("GET",),
    resolve: Resolver | None = None,
    names: str = "",
) -> Decorator:
    """For people of a Project: ``see`` for safe methods, ``change`` for the others.

    ``resolve`` takes the address's arguments and gives ``(keyword, object)``; the view receives the object
    under that keyword in place of the argument ``<keyword>_id``, and the other arguments as they are. ``names``
    says in one word what is resolved (for the matrix).
    """

    def decorate(function: View) -> View:
        @wraps(function)
        def view(request: HttpRequest, **kwargs: Any) -> HttpResponse:
            if isinstance(request.user, AnonymousUser):
                return to_sign_in(request)
            refused = _method_refused(request, methods)
            if refused:
                return refused
            return _within(cast("PersonRequest", request), function, kwargs, see, change, resolve)

        return _mark(view, Access("in projects", see=see, change=change, methods=methods, names=names))

    return decorate


def for_programs(
    see: Role = Role.VIEWER,
    *,
    change: Role = Role.OPERATOR,
    methods: tuple[str, ...] = ("GET",),
    resolve: Resolver | None = None,
    names: str = "",
) -> Decorator:
    """As :func:`in_projects`, and every refusal is a problem document: 401 without a person, 404, 403, 405, and
    whatever the view raises as a Problem. An unsafe method needs the CSRF header, for the session is a cookie."""

    def decorate(function: View) -> View:
        @csrf_exempt  # It is checked here, where its refusal is a problem document too.
        @wraps(function)
        def view(request: HttpRequest, **kwargs: Any) -> HttpResponse:
            try:
                person_request = _identified(request)
                _require_method(request, methods)
                return _within(person_request, function, kwargs, see, change, resolve)
            except Problem as problem:
                return problem.response()
            except Http404:
                return Problem(HTTPStatus.NOT_FOUND, _("There is no such thing here.")).response()
            except PermissionDenied:
                return Problem(HTTPStatus.FORBIDDEN, _("Your role does not allow this.")).response()

        access = Access("in projects", see=see, change=change, methods=methods, names=names, programs=True)
        return _mark(view, access)

    return decorate


def _identified(request: HttpRequest) -> PersonRequest:
    """Who asks. The one place that knows how a program says so: by the session of a person, until there are keys."""
    if isinstance(request.user, AnonymousUser):
        problem = Problem(HTTPStatus.UNAUTHORIZED, _("Sign in first."))
        problem.headers["WWW-Authenticate"] = 'Session realm="portal"'
        raise problem
    reason = _Csrf(_nothing).reason(request)
    if reason:
        raise Problem(HTTPStatus.FORBIDDEN, _("The CSRF token is missing or wrong: %(reason)s") % {"reason": reason})
    return cast("PersonRequest", request)


def _nothing(request: HttpRequest) -> HttpResponse:
    """The check below stands before no view."""
    return HttpResponse()


class _Csrf(CsrfViewMiddleware):
    """Django's check, that answers with its reason and not with a page."""

    def _reject(self, request: HttpRequest, reason: str) -> str:
        return reason

    def reason(self, request: HttpRequest) -> str:
        """Why the request is refused; "" where it is as it should be."""
        self.process_request(request)
        return cast("str | None", self.process_view(request, _nothing, (), {})) or ""


def _require_method(request: HttpRequest, methods: tuple[str, ...]) -> None:
    refused = _method_refused(request, methods)
    if refused:
        problem = Problem(HTTPStatus.METHOD_NOT_ALLOWED, _("This address does not know this method."))
        problem.headers["Allow"] = refused["Allow"]
        raise problem


def _within(
    request: PersonRequest,
    function: View,
    kwargs: Mapping[str, Any],
    see: Role,
    change: Role,
    resolve: Resolver | None,
) -> HttpResponse:
    """Call the view inside the scope of the person's Projects, with what the address names. Raises Http404,
    PermissionDenied."""
    person = request.person
    needed = see if request.method in SAFE else change
    with scope(project=list(person.memberships)):
        if resolve is not None:
            keyword, found = resolve(kwargs)
            held = person.weakest_role_in(_projects_of(found))
            if held is None:
                raise Http404
            if not held.covers(needed):
                raise PermissionDenied
            request.can_change = held.covers(change)
            others = {name: value for name, value in kwargs.items() if name != f"{keyword}_id"}
            response = function(request, **others, **{keyword: found})
        else:
            if not person.may_somewhere(needed) and (needed is not Role.VIEWER):
                raise PermissionDenied
            request.can_change = person.may_somewhere(change)
            response = function(request, **kwargs)
    response.headers.setdefault("Cache-Control", "private, no-store")
    return response


def _projects_of(found: Found) -> Sequence[int]:
    several: Sequence[int] | None = getattr(found, "project_ids", None)
    return [cast("InProject", found).project_id] if several is None else several


def to_sign_in(request: HttpRequest) -> HttpResponse:
    """The way to the sign-in page; an htmx request is told to load it whole instead of into a part."""
    if getattr(request, "htmx", False):
        response = HttpResponse(status=204)
        response["HX-Redirect"] = reverse("accounts:sign_in")
        return response
    return redirect_to_login(request.get_full_path())


def _method_refused(request: HttpRequest, methods: tuple[str, ...]) -> HttpResponse | None:
    allowed = {*methods, *(("HEAD",) if "GET" in methods else ())}
    return None if request.method in allowed else HttpResponseNotAllowed(sorted(allowed))
