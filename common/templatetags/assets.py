"""The framework's tag ``static`` for the portal's templates: where the path is a constant, its address is found when
the template is read. The addresses hold as long as the process does, and a page has a dozen of them."""

from __future__ import annotations

from django.template import Library, Node
from django.template.base import Parser, TextNode, Token
from django.templatetags.static import StaticNode
from django.utils.html import conditional_escape

register = Library()


@register.tag("static")
def static(parser: Parser, token: Token) -> Node:
    node = StaticNode.handle_token(parser, token)
    path = node.path.var  # a variable is an object of its own
    if isinstance(path, str) and not (node.path.filters or node.varname):
        return TextNode(conditional_escape(StaticNode.handle_simple(path)))
    return node
