"use strict";
// The table, and the map beside it: each finds a tile in the other. The outlines on the map are read from its paths,
// which have the tiles of a state in the order of the data.
(() => {
  const PAGE = 100, FAR = 16;
  const $ = (selector) => document.querySelector(selector);
  const { states, unit, tiles: rows } = JSON.parse($("#data").textContent);
  const tiles = rows.map(([tile, state, why, bytes, date, ra, dec]) => ({ tile, state, why, bytes, date, ra, dec, corners: null }));
  const collator = new Intl.Collator("en", { numeric: true });
  const figure = $("#map"), svg = $("#map svg"), body = $("#table tbody");
  let sorting = { key: "state", up: false }, first = 0, current = null, matching = [], hidden = 0;

  // ---- The table
  const chips = [...document.querySelectorAll(".chips button")];
  const isPressed = (chip) => chip.getAttribute("aria-pressed") === "true";
  const compare = (one, other) => {
    const [a, b] = [one[sorting.key], other[sorting.key]];
    const order = typeof a === "number" ? a - b : collator.compare(a, b);
    return (sorting.up ? order : -order) || collator.compare(one.tile, other.tile);
  };

  function update() {
    const text = $("#find").value.trim().toLowerCase();
    const shown = new Set(chips.filter(isPressed).map((chip) => Number(chip.dataset.state)));
    const found = tiles.filter((one) => !text || `${one.tile} ${states[one.state]} ${one.why}`.toLowerCase().includes(text));
    matching = found.filter((one) => shown.has(one.state));
    hidden = text ? found.length - matching.length : 0;
    matching.sort(compare);
    first = 0;
    $("#found").setAttribute("d", text ? matching.map(outline).join("") : "");
    render();
  }

  function render() {
    const last = Math.min(first + PAGE, matching.length);
    body.replaceChildren(...matching.slice(first, last).map(row));
    const of = matching.length === tiles.length ? `${count(tiles.length)} ${unit}s` : `${count(matching.length)} of ${count(tiles.length)} ${unit}s`;
    const shown = last - first < matching.length ? `, ${count(first + 1)} to ${count(last)} shown` : "";
    $("#shown").textContent = `${of}${shown}${hidden ? `; ${count(hidden)} more in other states` : ""}`;
    $("#before").disabled = first === 0;
    $("#after").disabled = last === matching.length;
    $(".pager").hidden = matching.length <= PAGE;
  }

  function row(one) {
    const line = document.createElement("tr");
    const cell = (kind, text, name = "") => line.appendChild(Object.assign(document.createElement(kind), { textContent: text, className: name }));
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: one.tile });
    Object.assign(cell("th", ""), { scope: "row" }).append(button);
    const key = document.createElement("i");
    key.style.setProperty("--of-state", `var(--state-${one.state})`);
    cell("td", states[one.state]).prepend(key);
    cell("td", "").append(Object.assign(document.createElement("div"), { textContent: one.why }));
    cell("td", one.bytes ? size(one.bytes) : "—", "number");
    cell("td", one.date.slice(0, 10) || "—", "number");
    if (one === current) line.setAttribute("aria-current", "true");
    line.addEventListener("click", () => select(one, figure));
    return line;
  }

  const count = (number) => number.toLocaleString("en");
  function size(bytes) {
    const units = ["B", "kB", "MB", "GB", "TB"];
    let at = 0;
    for (; bytes >= 1000 && at < 4; at++) bytes /= 1000;
    return `${bytes.toFixed(at ? 1 : 0)} ${units[at]}`;
  }

  // ---- The map
  const number = (element, name, value) => element.setAttribute(name, value.toFixed(2));
  const outline = ({ corners }) => corners ? `M${corners.join(" ")}z` : "";
  const whole = svg.viewBox.baseVal, all = { x: whole.x, y: whole.y, width: whole.width, height: whole.height };
  let zoom = 1;

  states.forEach((_, state) => {
    const path = $(`#tiles-${state} path`);
    const numbers = path ? path.getAttribute("d").match(/-?[\d.]+/g).map(Number) : [];
    const those = tiles.filter((one) => one.state === state);
    for (let at = 0; at < numbers.length / 8; at++) those[at].corners = numbers.slice(8 * at, 8 * at + 8);
  });
  const middle = ({ corners: [a, b, c, d, e, f, g, h] }) => [(a + c + e + g) / 4, (b + d + f + h) / 4];
  const placed = tiles.filter((one) => one.corners);
  const middles = placed.map(middle);
  const side = placed.length ? Math.hypot(placed[0].corners[0] - placed[0].corners[2], placed[0].corners[1] - placed[0].corners[3]) : 0;

  figure.style.setProperty("--side", side);
  svg.insertAdjacentHTML("beforeend", '<path id="found"/><g id="mark" hidden><path/><circle/></g>');

  /** The tile below a point of the screen, or one so near that a finger may mean it. */
  function below(event) {
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    const reach = Math.max(side * 0.71, 8 / svg.getScreenCTM().a);
    let best = -1, least = reach * reach;
    middles.forEach(([x, y], at) => {
      const distance = (x - point.x) ** 2 + (y - point.y) ** 2;
      if (distance < least) [best, least] = [at, distance];
    });
    return best < 0 ? null : placed[best];
  }

  function describe(one) {
    const where = one.corners ? ` · RA ${one.ra.toFixed(3)}°, Dec ${one.dec.toFixed(1)}°` : " · not on the sky";
    const state = states[one.state];
    $("#under").textContent = `${one.tile}${where} · ${one.why.startsWith(state) ? one.why : `${state}${one.why && ": "}${one.why}`}`;
  }

  function drawMark() {
    const mark = $("#mark");
    mark.toggleAttribute("hidden", !current?.corners);
    if (!current?.corners) return;
    mark.dataset.tile = current.tile;
    const [x, y] = middle(current), circle = mark.querySelector("circle");
    mark.querySelector("path").setAttribute("d", outline(current));
    number(circle, "cx", x);
    number(circle, "cy", y);
    number(circle, "r", Math.max(side, 12 / svg.getScreenCTM().a));
  }

  function look(x, y, to) {
    zoom = Math.min(Math.max(to, 1), FAR);
    whole.width = all.width / zoom;
    whole.height = all.height / zoom;
    whole.x = Math.min(Math.max(x - whole.width / 2, all.x), all.x + all.width - whole.width);
    whole.y = Math.min(Math.max(y - whole.height / 2, all.y), all.y + all.height - whole.height);
    figure.style.setProperty("--zoom", zoom);
    figure.classList.toggle("near", zoom > 1);
    $("#closer").disabled = zoom === FAR;
    $("#farther").disabled = zoom === 1;
    drawMark();
  }
  const mean = [0, 1].map((axis) => middles.reduce((sum, point) => sum + point[axis] / middles.length, 0));
  const centre = () => [whole.x + whole.width / 2, whole.y + whole.height / 2];
  const isIn = ([x, y]) => x > whole.x && x < whole.x + whole.width && y > whole.y && y < whole.y + whole.height;

  /** Make a tile the current one, in the table and on the map, and have the other of the two in sight. */
  function select(one, sight) {
    current = one;
    describe(one);
    if (one.corners && !isIn(middle(one))) look(...middle(one), zoom);
    drawMark();
    if (!matching.includes(one)) {
      $(`.chips [data-state="${one.state}"]`).setAttribute("aria-pressed", "true");
      $("#find").value = "";
      update();
    }
    show(one, sight);
  }

  function show(one, sight) {
    const at = matching.indexOf(one);
    if (at < first || at >= first + PAGE) {
      first = at - (at % PAGE);
      render();
    }
    body.querySelector("[aria-current]")?.removeAttribute("aria-current");
    const line = body.children[at - first];
    line.setAttribute("aria-current", "true");
    if (sight !== figure) line.querySelector("button").focus({ preventScroll: true });
    (sight === figure ? figure : line).scrollIntoView({ block: sight === figure ? "nearest" : "center" });
  }

  // ---- What a reader does
  let held = null;
  svg.addEventListener("pointerdown", (event) => { held = { x: event.clientX, y: event.clientY, from: centre(), moved: false }; });
  svg.addEventListener("pointermove", (event) => {
    if (!event.buttons || !held) {
      const one = below(event) || current;
      if (one) describe(one);
      return;
    }
    const [dx, dy] = [event.clientX - held.x, event.clientY - held.y], scale = svg.getScreenCTM().a;
    held.moved ||= zoom > 1 && Math.hypot(dx, dy) > 5;
    if (held.moved) look(held.from[0] - dx / scale, held.from[1] - dy / scale, zoom);
  });
  svg.addEventListener("click", (event) => {
    const one = held?.moved ? null : below(event);
    if (one) select(one, body);
  });
  for (const [name, factor] of [["#closer", 2], ["#farther", 0.5]]) {
    // Above the pole, the middle of the whole map is empty.
    const aim = () => (factor > 1 && current?.corners ? middle(current) : zoom > 1 ? centre() : mean);
    $(name).addEventListener("click", () => look(...aim(), zoom * factor));
  }
  for (const chip of chips) {
    const group = $(`#tiles-${chip.dataset.state}`);
    const light = (on) => { figure.classList.toggle("lit", on); group?.classList.toggle("lit", on); };
    chip.addEventListener("pointerenter", () => light(true));
    chip.addEventListener("pointerleave", () => light(false));
    chip.addEventListener("click", () => {
      chip.setAttribute("aria-pressed", !isPressed(chip));
      update();
    });
  }
  for (const button of document.querySelectorAll("#table thead button")) {
    button.addEventListener("click", () => {
      const { key } = button.dataset;
      sorting = { key, up: sorting.key === key ? !sorting.up : true };
      document.querySelectorAll("#table thead th").forEach((head) => head.setAttribute("aria-sort", "none"));
      button.parentElement.setAttribute("aria-sort", sorting.up ? "ascending" : "descending");
      update();
    });
  }
  for (const [name, step] of [["#before", -PAGE], ["#after", PAGE]]) {
    $(name).addEventListener("click", () => { first += step; render(); $(".scroll").scrollTop = 0; });
  }
  $("#find").addEventListener("input", update);
  addEventListener("resize", drawMark);
  update();
})();
