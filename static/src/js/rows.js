// A click anywhere on tr[data-href] opens it, as its link would: new tab with Ctrl, Cmd or the middle button;
// never while text is selected or on a control of the row. Also: select-all boxes and the keys "/" and "Escape".
(() => {
  const CONTROLS = "a, button, input, select, textarea, label, summary, dialog, [data-no-row]";

  const rowOf = (event) => {
    const row = event.target.closest("tr[data-href], li[data-href]");
    return row && !event.target.closest(CONTROLS) ? row : null;
  };

  document.addEventListener("click", (event) => {
    const row = rowOf(event);
    if (!row || event.defaultPrevented || String(getSelection())) return;
    if (event.ctrlKey || event.metaKey || event.shiftKey) window.open(row.dataset.href, "_blank", "noopener");
    else location.assign(row.dataset.href);
  });
  document.addEventListener("auxclick", (event) => {
    const row = rowOf(event);
    if (!row || event.button !== 1) return;
    event.preventDefault();
    window.open(row.dataset.href, "_blank", "noopener");
  });

  // In [data-selection]: [data-select-all] selects every [data-select]; [data-selected-count] says how many are.
  const count = (scope) => {
    const boxes = [...scope.querySelectorAll("input[type=checkbox][data-select]")];
    const chosen = boxes.filter((box) => box.checked).length;
    for (const all of scope.querySelectorAll("[data-select-all]")) {
      all.checked = chosen > 0 && chosen === boxes.length;
      all.indeterminate = chosen > 0 && chosen < boxes.length;
    }
    for (const text of scope.querySelectorAll("[data-selected-count]")) text.textContent = chosen;
  };
  document.addEventListener("change", (event) => {
    const box = event.target;
    const scope = box.closest("[data-selection]");
    if (!scope || !box.matches("[data-select], [data-select-all]")) return;
    if (box.matches("[data-select-all]")) {
      for (const each of scope.querySelectorAll("input[data-select]")) each.checked = box.checked;
    }
    count(scope);
  });
  const countAll = () => document.querySelectorAll("[data-selection]").forEach(count);
  countAll();
  document.addEventListener("htmx:afterSettle", countAll);
  window.addEventListener("pageshow", countAll);

  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input, textarea, select, [contenteditable]");
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      const box = document.querySelector("[data-search]");
      if (!box) return;
      event.preventDefault();
      box.focus();
      box.select();
    }
  });
})();
