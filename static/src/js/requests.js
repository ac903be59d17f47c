// Around requests: the CSRF header for htmx, one submit per form, toasts, dismissed messages, lost sign-in, early choices.
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
  document.addEventListener("htmx:responseError", (event) => {
    const status = event.detail.xhr.status;
    const texts = { 403: body.dataset.errorForbidden, 404: body.dataset.errorGone };
    toast(texts[status] ?? body.dataset.errorServer, "bad");
  });
  for (const kind of ["htmx:sendError", "htmx:timeout"]) {
    document.addEventListener(kind, () => toast(body.dataset.errorNetwork, "bad"));
  }

  // A list that was chosen from before htmx was there, or that the browser has filled in again, has told nobody yet.
  document.addEventListener("htmx:load", (event) => {
    if (event.target !== body) return;
    for (const list of document.querySelectorAll("[hx-trigger*=change] select:not([multiple])")) {
      const offered = [...list.options].find((option) => option.defaultSelected) ?? list.options[0];
      if (list.selectedOptions[0] !== offered) list.dispatchEvent(new Event("change", { bubbles: true }));
    }
  });
})();
