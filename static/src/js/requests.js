// Around requests: the CSRF header for htmx, one submit per form, toasts, dismissed messages, the live mark, lost sign-in.
// Loaded first of the deferred scripts: the others use window.portal.
(() => {
  const body = document.body;

  const announce = (text) => {
    const region = document.getElementById("announce");
    if (region && text) region.textContent = text;
  };
  // A toast for what no part of the page can say; tone: ok | bad | warn | busy. Errors stay until dismissed.
  const toast = (text, tone = "ok") => {
    const template = document.getElementById("toast-template");
    const region = document.getElementById("toasts");
    if (!template || !region || !text) return;
    const item = template.content.firstElementChild.cloneNode(true);
    item.dataset.tone = tone;
    item.querySelector("[data-text]").textContent = text;
    region.append(item);
    if (tone !== "bad") setTimeout(() => item.remove(), 6000);
  };
  window.portal = { announce, toast };

  // A view answers with HX-Trigger: {"toast": {"text": "Saved", "tone": "ok"}}.
  document.addEventListener("toast", (event) => toast(event.detail.text ?? event.detail.value, event.detail.tone));
  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-dismiss]")) event.target.closest("[data-message]")?.remove();
  });

  const cookie = (name) =>
    document.cookie.split("; ").find((pair) => pair.startsWith(`${name}=`))?.slice(name.length + 1);
  document.addEventListener("htmx:configRequest", (event) => {
    if (event.detail.verb === "get") return;
    const meta = document.querySelector("meta[name=csrf-token]")?.content;
    event.detail.headers["X-CSRFToken"] = cookie("csrftoken") || meta || "";
  });

  const busy = (form, on) => {
    form.toggleAttribute("data-busy", on);
    for (const button of form.querySelectorAll("button[type=submit], button:not([type])")) {
      if (on) button.setAttribute("aria-disabled", "true");
      else button.removeAttribute("aria-disabled");
    }
  };
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.method === "dialog") return;
    if (form.hasAttribute("data-busy")) {
      event.preventDefault();
      event.stopImmediatePropagation();
      return;
    }
    // An htmx form is freed by afterRequest; a plain POST by the page that comes. GET forms and downloads may be sent again.
    const isHtmx = form.matches("[hx-post], [hx-put], [hx-patch], [hx-delete]");
    if (!isHtmx && form.method === "post" && !form.hasAttribute("data-download")) setTimeout(() => event.defaultPrevented || busy(form, true));
  });
  document.addEventListener("htmx:beforeRequest", (event) => {
    if (event.target.matches("form") && event.detail.requestConfig.verb !== "get") busy(event.target, true);
  });
  document.addEventListener("htmx:afterRequest", (event) => {
    if (event.target.matches("form")) busy(event.target, false);
  });
  window.addEventListener("pageshow", () => document.querySelectorAll("form[data-busy]").forEach((form) => busy(form, false)));

  // A whole page where a part was expected: the session ended and the sign-in page came.
  document.addEventListener("htmx:beforeSwap", (event) => {
    const { xhr, boosted, target } = event.detail;
    if (!boosted && target !== body && /^\s*<!doctype/i.test(xhr.responseText)) {
      event.detail.shouldSwap = false;
      location.assign(location.href);
    }
  });
  // [data-live] reads itself again. Where something else has come in its place meanwhile (a form), that stays.
  document.addEventListener("htmx:beforeSwap", (event) => {
    const reader = event.detail.requestConfig?.elt;
    if (reader?.matches("[data-live]") && !reader.isConnected) event.detail.shouldSwap = false;
  });
  // [data-late] brings parts for places that may have gone meanwhile (a value that was cleared): those are left out.
  // Where it was itself replaced, what replaced it brings them: htmx would look for the places in what was taken out.
  document.addEventListener("htmx:beforeSwap", (event) => {
    const reader = event.detail.requestConfig?.elt;
    if (!reader?.matches("[data-late]")) return;
    if (!reader.isConnected) event.detail.shouldSwap = false;
    const parts = document.createElement("template");
    parts.innerHTML = event.detail.serverResponse;
    for (const part of parts.content.querySelectorAll("[hx-swap-oob]")) {
      if (!document.getElementById(part.id)) part.remove();
    }
    event.detail.serverResponse = parts.innerHTML;
  });
  document.addEventListener("htmx:responseError", (event) => {
    const status = event.detail.xhr.status;
    const texts = { 403: body.dataset.errorForbidden, 404: body.dataset.errorGone };
    toast(texts[status] ?? body.dataset.errorServer, "bad");
  });
  for (const kind of ["htmx:sendError", "htmx:timeout"]) {
    document.addEventListener(kind, () => toast(body.dataset.errorNetwork, "bad"));
  }

  // Whether the stream is there stands on the sse-connect element, which stays while its parts are swapped: css shows
  // every .live inside it as "live" or "not live".
  const mark = (event, state) => {
    event.target.dataset.stream = state;
  };
  document.addEventListener("htmx:sseOpen", (event) => mark(event, "on"));
  document.addEventListener("htmx:sseError", (event) => mark(event, "off"));
})();
