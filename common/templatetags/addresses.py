"""The framework's tag ``url`` for all templates (settings: builtins): where the name is a constant and the arguments
are named, the address is put together by :func:`common.addresses.address`."""

from __future__ import annotations

from typing import Any

from django.template import Library, Node
from django.template.base import Parser, Token
from django.template.defaulttags import URLNode
from django.template.defaulttags import url as framework_url
from django.urls import NoReverseMatch
from django.utils.html import conditional_escape

from common.addresses import address

register = Library()


class AddressNode(Node):
    """``asvar``: the variable that takes the address, and nothing where there is no such page."""

    def __init__(self, name: str, node: URLNode) -> None:
        self.name, self.kwargs, self.asvar = name, node.kwargs, node.asvar

    def render(self, context: Any) -> str:
        try:
            found = address(self.name, **{key: value.resolve(context) for key, value in self.kwargs.items()})
        except NoReverseMatch:
            if not self.asvar:
                raise
            found = ""
        if not self.asvar:
            return conditional_escape(found) if context.autoescape else found
        context[self.asvar] = found
        return ""


@register.tag("url")
def url(parser: Parser, token: Token) -> Node:
    node = framework_url(parser, token)
    name = node.view_name.var  # a variable is an object of its own
    return AddressNode(name, node) if isinstance(name, str) and not (node.args or node.view_name.filters) else node
