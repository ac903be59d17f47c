// A text field with source (textarea[data-source]): numbers of lines beside it, Tab indents, links to a line.
// The field does not trap the keyboard: after Escape the next Tab leaves it.
(() => {
  const INDENT = "  ";
  const area = document.querySelector("textarea.source-text");
  if (!area) return;
  const numbers = area.parentElement.querySelector(".source-lines");
  let leaving = false;

  const draw = () => {
    const marked = new Set([...document.querySelectorAll("a[data-source-line]")].map((link) => Number(link.dataset.sourceLine)));
    const count = area.value.split("\n").length;
    numbers.replaceChildren();
    for (let line = 1; line <= count; line += 1) {
      const row = document.createElement("span");
      row.textContent = `${line}\n`;
      if (marked.has(line)) row.className = "here";
      numbers.append(row);
    }
    follow();
  };
  const follow = () => {
    numbers.scrollTop = area.scrollTop;
  };

  const goTo = (line) => {
    const lines = area.value.split("\n");
    const start = lines.slice(0, line - 1).reduce((sum, text) => sum + text.length + 1, 0);
    area.focus();
    area.setSelectionRange(start, start + (lines[line - 1] ?? "").length);
    const height = area.scrollHeight / Math.max(lines.length, 1);
    area.scrollTop = Math.max(0, (line - 4) * height);
    area.scrollIntoView({ block: "nearest" });
    follow();
  };

  // execCommand is old and the only way that keeps the browser's own undo.
  const put = (text) => {
    if (!document.execCommand("insertText", false, text)) area.setRangeText(text, area.selectionStart, area.selectionEnd, "end");
  };
  const indent = (back) => {
    const { selectionStart: from, selectionEnd: to, value } = area;
    if (from === to && !back) return put(INDENT);
    const start = value.lastIndexOf("\n", from - 1) + 1;
    const found = value.indexOf("\n", Math.max(to - 1, start));
    const end = found < 0 ? value.length : found;
    const lines = value.slice(start, end).split("\n");
    const moved = lines.map((line) => (back ? line.replace(/^(\t| {1,2})/, "") : INDENT + line)).join("\n");
    if (moved === lines.join("\n")) return undefined;
    area.setSelectionRange(start, end);
    put(moved);
    if (from === to) area.setSelectionRange(Math.max(start, from - (end - start - moved.length)), Math.max(start, from - (end - start - moved.length)));
    else area.setSelectionRange(start, start + moved.length);
    return undefined;
  };

  if (area.hasAttribute("data-source")) {
    area.addEventListener("keydown", (event) => {
      if (event.key === "Escape") {
        leaving = true;
        return;
      }
      if (event.key === "Tab" && !leaving && !event.ctrlKey && !event.altKey && !event.metaKey) {
        event.preventDefault();
        indent(event.shiftKey);
      }
      if (event.key !== "Shift") leaving = false;
    });
    area.addEventListener("blur", () => {
      leaving = false;
    });
  }
  area.addEventListener("input", draw);
  area.addEventListener("scroll", follow);
  document.addEventListener("htmx:afterSettle", draw);
  document.addEventListener("htmx:oobAfterSwap", draw);
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-source-line]");
    if (!link) return;
    event.preventDefault();
    goTo(Number(link.dataset.sourceLine));
  });

  // Leaving with a text that is not kept asks first. The server says of each text that it gets whether it is kept.
  const isKept = () => !document.querySelector("#codec-keep[data-changed]");
  let kept = isKept() ? area.defaultValue : null;
  let sent = null;
  area.form?.addEventListener("submit", () => {
    sent = area.value;
  });
  document.addEventListener("htmx:afterRequest", (event) => {
    if (event.target === area.form && isKept()) kept = sent;
  });
  window.addEventListener("beforeunload", (event) => {
    if (area.hasAttribute("data-source") && area.value !== kept) event.preventDefault();
  });
  draw();
})();
