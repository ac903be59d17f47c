// Puts a map (Leaflet) in the place of the drawings of a computed position wherever [data-map] tells what to show; the
// drawings come back where no tile can be had. Leaflet is fetched when the first map is wanted.
(() => {
  const MOST_ZOOM = 17;
  let fetched;

  const element = (name, values) => Object.assign(document.createElement(name), values);

  const fetchLeaflet = ({ leaflet, leafletCss }) =>
    (fetched ??= new Promise((done, failed) => {
      document.head.append(element("link", { rel: "stylesheet", href: leafletCss }));
      document.head.append(element("script", { src: leaflet, onload: done, onerror: failed }));
    }));

  // Names come from a network: as text, never as HTML.
  const label = (text) => element("span", { textContent: text });

  const draw = (figure) => {
    const { position, radius, gateways } = JSON.parse(figure.dataset.map);
    const drawings = figure.querySelector(".pictures");
    const place = element("div", { className: "map" });
    place.setAttribute("role", "region");
    place.setAttribute("aria-label", drawings.querySelector("svg").getAttribute("aria-label"));
    drawings.before(place);
    figure.dataset.drawn = "map";
    const map = L.map(place, { scrollWheelZoom: false, zoomControl: false });
    map.attributionControl.setPrefix(false);
    L.control.zoom({ zoomInTitle: figure.dataset.zoomIn, zoomOutTitle: figure.dataset.zoomOut }).addTo(map);
    L.control.scale({ imperial: false }).addTo(map);

    // Leaflet measures a circle only on a map that has a view.
    const bounds = radius ? L.latLng(position).toBounds(2 * radius) : L.latLngBounds([position]);
    gateways.forEach((gateway) => bounds.extend(gateway.at));
    map.fitBounds(bounds, { padding: [32, 32], maxZoom: MOST_ZOOM });

    if (radius) L.circle(position, { radius, className: "reach", interactive: false }).addTo(map);
    for (const { number, name, at } of gateways) {
      L.polyline([position, at], { className: "ray", interactive: false }).addTo(map);
      const icon = L.divIcon({ className: "map-gateway", html: label(number), iconSize: [24, 24] });
      L.marker(at, { icon, alt: name }).bindTooltip(label(name)).addTo(map);
    }
    L.circleMarker(position, { radius: 7, className: "here" }).bindTooltip(label(figure.dataset.positionText)).addTo(map);

    // The maker of the tiles is told which portal asks, and not which page.
    const tiles = L.tileLayer(figure.dataset.tiles, { attribution: figure.dataset.attribution, maxZoom: 19, referrerPolicy: "origin" });
    let seen = false;
    tiles.on("tileload", () => (seen = true));
    tiles.on("tileerror", () => {
      if (seen || figure.dataset.drawn !== "map") return;
      figure.dataset.drawn = "failed";
      // Leaflet is in the middle of its own work with the tile.
      setTimeout(() => {
        map.remove();
        maps.delete(figure);
        place.remove();
      });
    });
    maps.set(figure, map);
    tiles.addTo(map);
  };

  const maps = new Map();
  const begin = async (figure) => {
    if (figure.dataset.drawn !== undefined) return;
    figure.dataset.drawn = "";
    try {
      await fetchLeaflet(figure.dataset);
    } catch {
      return;
    }
    if (figure.isConnected) draw(figure);
  };

  const find = () => {
    for (const [figure, map] of maps) {
      if (figure.isConnected) continue;
      map.remove();
      maps.delete(figure);
    }
    document.querySelectorAll("[data-map]").forEach(begin);
  };

  find();
  document.addEventListener("htmx:afterSettle", find);
})();
