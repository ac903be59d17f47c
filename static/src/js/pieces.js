// Copy buttons, drop-down menus (details.menu), dialogs (native), pop-ups that Escape closes, revealed fields.
(() => {
  const copy = async (text) => {
    if (navigator.clipboard && window.isSecureContext) return navigator.clipboard.writeText(text);
    // The clipboard interface is missing on plain http; the old command still works there.
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "visually-hidden";
    (document.querySelector("dialog[open]") || document.body).append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    if (!done) throw new Error("copy refused");
  };

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy], [data-copy-from]");
    if (!button) return;
    const source = button.dataset.copyFrom && document.getElementById(button.dataset.copyFrom);
    try {
      await copy(source ? source.value ?? source.textContent : button.dataset.copy);
    } catch {
      window.portal.toast(document.body.dataset.copyFailed, "bad");
      return;
    }
    button.classList.add("copied");
    window.portal.announce(document.body.dataset.copied);
    setTimeout(() => button.classList.remove("copied"), 1600);
  });

  const closeMenus = (except) => {
    for (const menu of document.querySelectorAll("details.menu[open]")) if (menu !== except) menu.open = false;
  };
  document.addEventListener("click", (event) => closeMenus(event.target.closest("details.menu")));
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    const menu = event.target.closest?.("details.menu[open]");
    if (menu) menu.querySelector("summary").focus();
    closeMenus();
    document.documentElement.classList.add("tips-off");
  });
  for (const kind of ["pointerover", "focusin"]) {
    document.addEventListener(kind, (event) => {
      if (event.target.closest?.(".tip")) return;
      document.documentElement.classList.remove("tips-off");
    });
  }

  // [data-dialog="id"] opens <dialog id>; [data-close] closes; so does a click beside it, unless data-modal="strict".
  const open = (dialog, opener) => {
    if (!dialog || dialog.open) return;
    dialog.showModal();
    // The browser gives the focus back to the opener; where a live part brought a new one meanwhile, it has its id.
    dialog.addEventListener("close", () => {
      if (opener?.id && !opener.isConnected) document.getElementById(opener.id)?.focus();
    }, { once: true });
  };
  document.addEventListener("click", (event) => {
    const opener = event.target.closest("[data-dialog]");
    if (opener) {
      const dialog = document.getElementById(opener.dataset.dialog);
      if (dialog && !event.ctrlKey && !event.metaKey) {
        event.preventDefault();
        open(dialog, opener);
      }
      return;
    }
    if (event.target.closest("[data-close]")) event.target.closest("dialog")?.close();
  });
  document.addEventListener("pointerdown", (event) => {
    if (event.target.matches?.("dialog[open]:not([data-modal=strict])")) {
      const box = event.target.getBoundingClientRect();
      const inside = event.clientX >= box.left && event.clientX <= box.right &&
        event.clientY >= box.top && event.clientY <= box.bottom;
      if (!inside) event.target.close();
    }
  });
  // A dialog that htmx brings opens itself and leaves the page when it closes.
  const openArrived = (root, opener) => {
    for (const dialog of root.querySelectorAll("dialog[data-open]")) {
      open(dialog, opener);
      dialog.addEventListener("close", () => dialog.remove(), { once: true });
    }
  };
  openArrived(document);
  document.addEventListener("htmx:afterSettle", (event) => {
    openArrived(event.target.parentElement || document, event.detail.requestConfig?.elt);
  });

  // details[data-keep-open] with an id: one that a person has opened stays so when its part is read again; "as-left" is
  // one that comes open, and stays closed where a person has closed it.
  let opened = [];
  let closed = [];
  document.addEventListener("htmx:beforeSwap", (event) => {
    const ids = (which) => [...event.detail.target.querySelectorAll(which)].map((each) => each.id);
    opened = ids("details[data-keep-open][open]");
    closed = ids("details[data-keep-open=as-left]:not([open])");
  });
  document.addEventListener("htmx:afterSwap", () => {
    for (const id of opened) document.getElementById(id)?.setAttribute("open", "");
    for (const id of closed) document.getElementById(id)?.removeAttribute("open");
    opened = [];
    closed = [];
  });

  // [data-reveal="id"]: a secret field shows its characters while pressed in.
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-reveal]");
    if (!button) return;
    const field = document.getElementById(button.dataset.reveal);
    const hidden = field.type === "password";
    field.type = hidden ? "text" : "password";
    button.setAttribute("aria-pressed", String(hidden));
  });
  // [data-confirm="text"] inside a form: its submit button works once the text is typed exactly (deleting, D9).
  document.addEventListener("input", (event) => {
    const wanted = event.target.dataset.confirm;
    if (wanted === undefined) return;
    const button = event.target.form?.querySelector("button[type=submit]");
    if (button) button.disabled = event.target.value.trim() !== wanted;
  });
})();
