// Puts LoRa frames that have arrived among the rows of the history: newest first, each once, late ones in their place.
(() => {
  const place = (row) => {
    const match = /^f-(\d+)-(-?\d+)$/.exec(row.id);
    return match ? [Number(match[1]), Number(match[2])] : null;
  };
  const older = (one, other) => one[0] < other[0] || (one[0] === other[0] && one[1] < other[1]);

  const put = (row, list) => {
    const at = place(row);
    const next = [...list.querySelectorAll("tr[id^='f-']")].find((each) => older(place(each), at));
    if (next) next.before(row);
    // Older than all: "load more" will bring it, unless there is no more to load.
    else if (!document.getElementById("frames-older")) list.append(row);
    else row.remove();
  };

  // An answer from before "Pause" or "Go on" says nothing any more; what it would have brought, the next one brings.
  document.addEventListener("htmx:beforeSwap", (event) => {
    const { elt, parameters } = event.detail.requestConfig;
    if (elt.id !== "frames-ask") return;
    const paused = document.querySelector("#frames-live [name=paused]") !== null;
    const switching = document.getElementById("frames-pause")?.classList.contains("htmx-request");
    if (switching || paused !== Boolean(parameters.paused)) event.detail.shouldSwap = false;
  });

  document.addEventListener("htmx:oobAfterSwap", (event) => {
    if (event.detail.target.id !== "frames-arrived") return;
    const list = document.getElementById("frames-rows");
    for (const row of [...document.getElementById("frames-arrived").children]) {
      if (list.querySelector(`[id="${row.id}"]`)) row.remove();
      else put(row, list);
    }
  });
})();
