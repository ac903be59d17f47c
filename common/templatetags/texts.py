"""The framework's tags of ``i18n`` for the portal's templates; a plain text is looked up here and nothing else.

A page has a hundred of them; the framework makes a variable and a lazy string of each, which takes two and a half
times as long. Texts with filters, a context or ``noop`` are the framework's.
"""

from __future__ import annotations

from typing import Any

from django.template import Library, Node
from django.template.base import Parser, Token
from django.templatetags import i18n
from django.utils.safestring import SafeString
from django.utils.translation import gettext

register = Library()
register.tags.update(i18n.register.tags)
register.filters.update(i18n.register.filters)


class TextNode(Node):
    """A constant text of a template, which is safe as the template is. ``asvar``: the variable that takes it."""

    def __init__(self, text: str, asvar: str | None) -> None:
        # Catalogues have the percent sign doubled in the texts of templates.
        self.text = text.replace("%", "%%")
        self.asvar = asvar

    def render(self, context: Any) -> SafeString:
        value = SafeString(gettext(self.text).replace("%%", "%"))
        if not self.asvar:
            return value
        context[self.asvar] = value
        return SafeString()


@register.tag("translate")
@register.tag("trans")
def translate(parser: Parser, token: Token) -> Node:
    node: Any = i18n.do_translate(parser, token)
    text = getattr(node.filter_expression.var, "literal", None)
    if text and isinstance(text, str) and not (node.filter_expression.filters or node.noop or node.message_context):
        return TextNode(text, node.asvar)
    return node  # type: ignore[no-any-return]
