// Keeps "3 min ago" true: every [data-ago] holds the moment; the words come from the html element's data-ago-*.
(() => {
  const words = document.documentElement.dataset;
  const units = [[86400, words.agoD], [3600, words.agoH], [60, words.agoMin], [1, words.agoS]];

  const say = (moment) => {
    const seconds = Math.floor((Date.now() - Date.parse(moment)) / 1000);
    if (!(seconds >= 10)) return words.agoNow;
    const [size, text] = units.find(([unit]) => seconds >= unit);
    return text.replace("%d", Math.floor(seconds / size));
  };

  const refresh = (root) => {
    for (const element of root.querySelectorAll("[data-ago]")) {
      const text = say(element.dataset.ago);
      if (element.textContent !== text) element.textContent = text;
    }
  };

  refresh(document);
  setInterval(() => document.hidden || refresh(document), 10_000);
  document.addEventListener("visibilitychange", () => document.hidden || refresh(document));
  document.addEventListener("htmx:afterSettle", (event) => refresh(event.target));
})();
