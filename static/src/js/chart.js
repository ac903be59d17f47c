// Draws the history of a value (uPlot) wherever [data-chart] holds the address of its points; takes new ones when the
// device reports, and follows the theme. Arrow keys go from point to point, and what is pointed at is said below.
(() => {
  const HEIGHT = 280;
  const PAUSE = 1000;
  const PIXELS_PER_POINT = 2;

  const language = document.documentElement.lang || undefined;
  const number = new Intl.NumberFormat(language, { maximumSignificantDigits: 6 });
  // Day before month, and hours of a day of 24, as everywhere in the portal.
  const moments = { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };
  const momentOf = (seconds, timeZone) =>
    new Intl.DateTimeFormat(language?.startsWith("en") ? "en-GB" : language, { ...moments, timeZone }).format(seconds * 1000);
  // Nobody reads more of a text beside an axis.
  const short = (text) => (text.length > 16 ? `${text.slice(0, 15)}…` : text);

  // A custom property holds light-dark(…): only an element's own colour is resolved.
  const inks = (place) => {
    const probe = document.createElement("i");
    place.append(probe);
    const found = {};
    for (const name of ["line", "band", "grid", "text"]) {
      probe.dataset.ink = name;
      found[name] = getComputedStyle(probe).color;
    }
    probe.remove();
    return found;
  };

  const texts = (points) => (points.kind === "lanes" ? points.lane.map((lane) => points.lanes[lane]) : points.text);

  const columns = (points) => {
    if (points.kind !== "lanes") return [points.at, points.high, points.low, points.average];
    // The last state lasts to the end of the range.
    return [[...points.at, points.until], [...points.lane, points.lane.at(-1)]];
  };

  const options = (chart, points, width) => {
    const ink = inks(chart.place);
    const lanes = points.kind === "lanes";
    const axis = { stroke: ink.text, grid: { stroke: ink.grid, width: 1 }, ticks: { stroke: ink.grid, width: 1 } };
    const few = points.at.length <= width / 12;
    const longest = lanes ? Math.max(...points.lanes.map((text) => short(text).length)) : 0;
    const line = { stroke: ink.line, width: 1.5, points: { show: few, size: 5, fill: ink.line } };
    const edge = { stroke: "transparent", width: 0, points: { show: false } };
    return {
      width,
      height: lanes ? Math.max(120, 60 + 36 * points.lanes.length) : HEIGHT,
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), points.zone),
      legend: { show: false },
      cursor: { drag: { x: false, y: false }, y: false },
      scales: {
        x: { time: true, range: [points.since, points.until] },
        y: lanes ? { range: [-0.5, points.lanes.length - 0.5] } : {},
      },
      axes: [
        // Hours of a day of 24, whatever the language.
        { ...axis, values: [
          [31536000, "{YYYY}", null, null, null, null, null, null, 1],
          [2419200, "{YYYY}-{MM}", null, null, null, null, null, null, 1],
          [86400, "{D} {MMM}", null, null, null, null, null, null, 1],
          [60, "{HH}:{mm}", "\n{D} {MMM}", null, null, null, null, null, 1],
          [1, "{HH}:{mm}:{ss}", "\n{D} {MMM}", null, null, null, null, null, 1],
        ] },
        lanes
          ? { ...axis, size: 28 + 7 * longest, splits: () => points.lanes.map((_, lane) => lane), values: (_, splits) => splits.map((lane) => short(points.lanes[lane])) }
          : { ...axis, size: 64, values: (_, splits) => splits.map((value) => number.format(value)) },
      ],
      bands: lanes ? [] : [{ series: [1, 2], fill: ink.band }],
      series: lanes
        ? [{}, { ...line, width: 2, points: { show: false }, paths: uPlot.paths.stepped({ align: 1 }) }]
        : [{}, edge, edge, line],
      hooks: { setCursor: [(plot) => say(chart, plot.cursor.idx)] },
    };
  };

  const say = (chart, index) => {
    const points = chart.points;
    const at = index == null ? undefined : points.at[Math.min(index, points.at.length - 1)];
    const text = at === undefined ? "" : texts(points)[Math.min(index, points.at.length - 1)];
    chart.says.textContent = at === undefined ? "" : `${momentOf(at, points.zone)}: ${text}`;
  };

  const draw = (chart) => {
    const { place, points } = chart;
    const width = Math.floor(place.clientWidth);
    if (!points || !width) return;
    chart.plot?.destroy();
    chart.plot = undefined;
    place.replaceChildren();
    place.removeAttribute("aria-busy");
    if (points.kind === "too many") {
      place.textContent = place.dataset.tooMany;
      return;
    }
    if (!points.at.length) return;
    chart.plot = new uPlot(options(chart, points, width), columns(points), place);
    if (chart.resolution) chart.resolution.textContent = points.resolution;
  };

  const load = async (chart) => {
    const { place } = chart;
    const room = Math.max(50, Math.round(place.clientWidth / PIXELS_PER_POINT));
    try {
      const response = await fetch(`${place.dataset.chart}&points=${room}`, { headers: { Accept: "application/json" } });
      if (!response.ok) throw new Error(response.status);
      chart.points = await response.json();
    } catch {
      // What is drawn already stays; the next report is another try.
      if (!chart.plot) {
        place.textContent = place.dataset.failed;
        place.removeAttribute("aria-busy");
      }
      return;
    }
    if (place.isConnected) draw(chart);
  };

  const step = (chart, event) => {
    const { plot, points } = chart;
    if (!plot || event.altKey || event.ctrlKey || event.metaKey) return;
    const last = points.at.length - 1;
    const now = plot.cursor.left < 0 ? null : plot.cursor.idx;
    const next = { ArrowLeft: now == null ? last : now - 1, ArrowRight: now == null ? 0 : now + 1, Home: 0, End: last }[event.key];
    if (event.key === "Escape") plot.setCursor({ left: -10, top: -10 });
    if (next === undefined) return;
    event.preventDefault();
    const index = Math.min(Math.max(next, 0), last);
    // Just right of the point: rounding must not lead to the one before.
    plot.setCursor({ left: plot.valToPos(points.at[index], "x"), top: plot.over.clientHeight / 2 });
  };

  const charts = new Set();
  const begin = (place) => {
    if (place.dataset.drawn !== undefined) return;
    place.dataset.drawn = "";
    const around = place.parentElement;
    const chart = { place, says: around.querySelector("[data-chart-says]"), resolution: around.querySelector("[data-chart-resolution]") };
    charts.add(chart);
    place.addEventListener("keydown", (event) => step(chart, event));
    let waiting;
    place.addEventListener("sse:twin", () => {
      clearTimeout(waiting);
      waiting = setTimeout(() => place.isConnected && load(chart), PAUSE);
    });
    let width = 0;
    new ResizeObserver(() => {
      if (place.clientWidth === width) return;
      width = place.clientWidth;
      draw(chart);
    }).observe(place);
    load(chart);
  };

  const find = () => {
    for (const chart of charts) {
      if (chart.place.isConnected) continue;
      chart.plot?.destroy();
      charts.delete(chart);
    }
    document.querySelectorAll("[data-chart]").forEach(begin);
  };
  const redraw = () => charts.forEach(draw);

  find();
  document.addEventListener("htmx:afterSettle", find);
  document.addEventListener("themechange", redraw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
})();
