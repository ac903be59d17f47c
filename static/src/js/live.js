// Parts that read themselves again when something has happened: what comes for a place that has gone or is under a
// person's finger, and the live mark.
(() => {
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
  // A part that is swapped between press and release takes the click with it. What the stream brings meanwhile is left
  // out, and read after the release.
  let pressed = false;
  let freeing;
  const missed = new Map();
  document.addEventListener("htmx:beforeSwap", (event) => {
    const { elt, triggeringEvent } = event.detail.requestConfig ?? {};
    if (!pressed || !triggeringEvent?.type.startsWith("sse:")) return;
    event.detail.shouldSwap = false;
    missed.set(elt, triggeringEvent.type);
  });
  const press = () => {
    clearTimeout(freeing);
    pressed = true;
  };
  // The click comes after the release: at once from a mouse, a little later from a finger.
  const release = () => {
    clearTimeout(freeing);
    if (pressed) freeing = setTimeout(free, 100);
  };
  const free = () => {
    pressed = false;
    for (const [reader, kind] of missed) if (reader.isConnected) htmx.trigger(reader, kind);
    missed.clear();
  };
  document.addEventListener("pointerdown", press, true);
  for (const kind of ["pointerup", "pointercancel", "dragend"]) document.addEventListener(kind, release, true);
  // A list that was open, or a menu of the browser, takes the release for itself.
  document.addEventListener("pointermove", (event) => pressed && !event.buttons && release(), true);
  // The space bar presses a button too.
  document.addEventListener("keydown", (event) => event.key === " " && press(), true);
  document.addEventListener("keyup", release, true);
  window.addEventListener("blur", release);

  // Whether the stream is there stands on the sse-connect element, which stays while its parts are swapped: css shows
  // every .live inside it as "live" or "not live".
  const mark = (event, state) => {
    event.target.dataset.stream = state;
  };
  document.addEventListener("htmx:sseOpen", (event) => mark(event, "on"));
  document.addEventListener("htmx:sseError", (event) => mark(event, "off"));
})();
