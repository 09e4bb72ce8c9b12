// One chart of every probe: choose metric and panel, point at a line for its value, toggle arms.

(function () {
  const root = document.querySelector(".chart");
  if (!root) return;
  const data = JSON.parse(document.getElementById("chart-data").textContent);
  const WIDTH = 900, HEIGHT = 400, LEFT = 62, TOP = 14, BOTTOM = 44;
  const STYLES = 10; // as many as the style sheet has
  const state = { metric: 0, panel: 0, hidden: new Map(), at: null };

  function make(tag, attributes, text) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    if (text !== undefined) element.textContent = text;
    return element;
  }

  function plain(tag, className, text) {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = text;
    return element;
  }

  function styleOf(index) {
    return index < 0 ? "trunk" : `s${index % STYLES}`;
  }

  function hiddenArms() {
    if (!state.hidden.has(state.panel)) state.hidden.set(state.panel, new Set());
    return state.hidden.get(state.panel);
  }

  /** Round values between low and high, about five of them. */
  function ticksOf(low, high, log) {
    if (log) {
      const first = Math.ceil(low), last = Math.floor(high);
      const stride = Math.max(1, Math.ceil((last - first) / 6));
      return Array.from({ length: Math.max(0, Math.floor((last - first) / stride) + 1) }, (_, i) => first + i * stride);
    }
    const rough = (high - low) / 5, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].find((factor) => factor * power >= rough) * power;
    const found = [];
    for (let i = Math.ceil(low / step); i * step <= high * 1.0000001; i++) found.push(i * step);
    return found;
  }

  function shown(value) {
    if (value === 0) return "0";
    const size = Math.abs(value);
    return size < 1e-3 || size >= 1e6 ? value.toExponential(2) : String(Number(value.toPrecision(5)));
  }

  function nameOf(panel, line) {
    const names = line.arms.map((index) => panel.arms[index].name);
    return line.arms.length > 1 ? `trunk of ${names.length} arms, ${names[0].split(", ")[1]}` : names[0];
  }

  /** The lines to draw: of visible arms, with their points that have a value. */
  function visible() {
    const panel = data.panels[state.panel], log = data.metrics[state.metric].log, hidden = hiddenArms();
    return panel.lines.flatMap((line) => {
      if (line.arms.every((index) => hidden.has(index))) return [];
      const values = line.values[state.metric];
      const points = line.steps.map((step, i) => ({ step, value: values[i] }));
      const usable = (point) => point.value !== null && (!log || point.value > 0);
      if (!points.some(usable)) return [];
      const style = line.arms.length > 1 ? "trunk" : styleOf(panel.arms[line.arms[0]].style);
      return [{ name: nameOf(panel, line), arms: line.arms, style, points, usable }];
    });
  }

  const controls = plain("div", "controls"), stage = plain("div", "stage");
  const legend = plain("fieldset", "legend"), tip = plain("div", "tip"), spoken = plain("output", "spoken");
  const svg = make("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, tabindex: "0", role: "group" });
  svg.setAttribute("aria-label", "Chart; arrow keys read the values");
  tip.hidden = true;
  stage.append(svg, tip);
  root.append(controls, stage, spoken, legend);
  let drawn = [], margin = 110;

  function draw() {
    const panel = data.panels[state.panel], metric = data.metrics[state.metric], lines = visible();
    const to = metric.log ? Math.log10 : (value) => value;
    svg.replaceChildren();
    state.at = null;
    tip.hidden = true;
    drawn = [];
    const ends = lines.filter((line) => line.arms.length === 1).map((line) => line.name.split(", ")[0].length);
    margin = 22 + 8 * Math.max(11, ...ends); // room for the longest name behind the last step
    if (!lines.length) {
      svg.append(make("text", { x: WIDTH / 2, y: HEIGHT / 2, "text-anchor": "middle" }, "Nothing of this on record, or every arm is off."));
      return;
    }
    const points = lines.flatMap((line) => line.points.filter(line.usable));
    const reference = panel.references[state.metric];
    const heights = points.map((point) => to(point.value));
    if (reference && reference[1] !== null) heights.push(to(reference[1]));
    let low = heights.reduce((a, b) => Math.min(a, b)), high = heights.reduce((a, b) => Math.max(a, b));
    const room = (high - low || Math.abs(high) || 1) * 0.06;
    low -= room;
    high += room;
    const last = points.reduce((most, point) => Math.max(most, point.step), 1);
    const x = (step) => LEFT + ((WIDTH - LEFT - margin) * step) / last;
    const y = (value) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - (to(value) - low) / (high - low));

    for (const tick of ticksOf(low, high, metric.log)) {
      const value = metric.log ? 10 ** tick : tick, height = y(value);
      svg.append(make("line", { class: "grid", x1: LEFT, x2: WIDTH - margin, y1: height, y2: height }));
      svg.append(make("text", { x: LEFT - 8, y: height + 4, "text-anchor": "end" }, metric.log ? `1e${tick}` : shown(tick)));
    }
    for (const tick of ticksOf(0, last, false)) {
      svg.append(make("text", { x: x(tick), y: HEIGHT - BOTTOM + 18, "text-anchor": "middle" }, shown(tick)));
    }
    svg.append(make("text", { class: "axis", x: (LEFT + WIDTH - margin) / 2, y: HEIGHT - 6, "text-anchor": "middle" }, "step (completed updates)"));
    svg.append(make("text", { class: "axis", transform: `translate(13 ${(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)`, "text-anchor": "middle" }, metric.name));
    for (const step of panel.changes) {
      svg.append(make("line", { class: "boundary", x1: x(step), x2: x(step), y1: TOP, y2: HEIGHT - BOTTOM }));
    }
    if (reference && reference[1] !== null) {
      const height = y(reference[1]);
      svg.append(make("line", { class: "reference", x1: LEFT, x2: WIDTH - margin, y1: height, y2: height }));
      svg.append(make("text", { class: "small", x: LEFT + 4, y: height - 4 }, reference[0]));
    }
    for (const line of lines) {
      let path = "", open = false;
      for (const point of line.points) {
        const usable = line.usable(point);
        if (usable) path += `${open ? "L" : "M"}${x(point.step).toFixed(1)} ${y(point.value).toFixed(1)}`;
        open = usable;
      }
      svg.append(make("path", { class: `line ${line.style}`, d: path }));
      drawn.push({ ...line, places: line.points.filter(line.usable).map((point) => ({ ...point, x: x(point.step), y: y(point.value) })) });
    }
    nameEnds();
    svg.append(make("circle", { class: "here", r: 5, visibility: "hidden" }));
  }

  /** The decay of each group of lines at their mean end, moved apart where names would cover one another. */
  function nameEnds() {
    const ends = new Map();
    for (const line of drawn) {
      if (line.style === "trunk" && line.arms.length > 1) continue;
      const name = line.name.split(", ")[0], end = line.places[line.places.length - 1];
      if (!ends.has(name)) ends.set(name, { style: line.style, heights: [], x: 0 });
      ends.get(name).heights.push(end.y);
      ends.get(name).x = Math.max(ends.get(name).x, end.x);
    }
    const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;
    const ordered = [...ends].map(([name, end]) => ({ name, ...end, y: mean(end.heights) })).sort((a, b) => b.y - a.y);
    let above = Infinity;
    for (const end of ordered) {
      above = Math.min(end.y, above - 15);
      svg.append(make("text", { class: `end ${end.style}`, x: end.x + 8, y: above + 4 }, end.name));
    }
  }

  function tell(line, index) {
    const place = drawn[line].places[index], here = svg.querySelector(".here");
    state.at = [line, index];
    here.setAttribute("cx", place.x);
    here.setAttribute("cy", place.y);
    here.setAttribute("visibility", "visible");
    const runs = drawn[line].arms.map((arm) => data.panels[state.panel].arms[arm].run);
    const text = `${drawn[line].name}: ${shown(place.value)} at step ${place.step}`;
    tip.replaceChildren(plain("b", "", text), plain("span", "mono", runs.slice(0, 2).join(" ") + (runs.length > 2 ? " …" : "")));
    tip.hidden = false;
    const scale = svg.getBoundingClientRect().width / WIDTH;
    tip.style.left = `${Math.min(place.x * scale + 12, stage.scrollWidth - tip.offsetWidth)}px`;
    tip.style.top = `${Math.max(0, place.y * scale - tip.offsetHeight - 10)}px`;
    return text;
  }

  function forget() {
    state.at = null;
    tip.hidden = true;
    const here = svg.querySelector(".here");
    if (here) here.setAttribute("visibility", "hidden");
  }

  function follow(event) {
    const box = svg.getBoundingClientRect();
    const px = ((event.clientX - box.left) / box.width) * WIDTH, py = ((event.clientY - box.top) / box.height) * HEIGHT;
    let best = null, least = 40 ** 2; // farther than this from any point the pointer means none
    drawn.forEach((line, number) => line.places.forEach((place, index) => {
      const distance = (place.x - px) ** 2 + (place.y - py) ** 2;
      if (distance < least) [best, least] = [[number, index], distance];
    }));
    if (best) tell(...best);
    else forget();
  }

  svg.addEventListener("pointermove", follow);
  svg.addEventListener("pointerdown", follow); // a tap moves nothing
  svg.addEventListener("pointerleave", (event) => {
    if (event.pointerType !== "touch") forget();
  });
  svg.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [1, 0], ArrowDown: [-1, 0] };
    if (event.key === "Escape") return forget();
    if (!moves[event.key] || !drawn.length) return;
    event.preventDefault();
    const [up, right] = moves[event.key];
    let [line, index] = state.at || [0, right > 0 ? -1 : 0];
    const step = state.at ? drawn[line].places[index].step : 0;
    if (up) {
      line = (line + up + drawn.length) % drawn.length;
      const places = drawn[line].places; // the nearest step of the other line
      index = places.reduce((near, place, i) => (Math.abs(place.step - step) < Math.abs(places[near].step - step) ? i : near), 0);
    } else {
      index = Math.max(0, Math.min(drawn[line].places.length - 1, index + right));
    }
    spoken.textContent = tell(line, index);
  });

  function chooser(label, names, choose) {
    const box = plain("label", "", `${label} `), select = plain("select");
    names.forEach((name, value) => select.append(new Option(name, value)));
    select.addEventListener("change", () => choose(Number(select.value)));
    box.append(select);
    controls.append(box);
  }

  function toggles() {
    const panel = data.panels[state.panel], hidden = hiddenArms(), boxes = [];
    legend.replaceChildren(plain("legend", "", "Arms"));
    const switchAll = (text, on) => {
      const button = plain("button", "", text);
      button.type = "button";
      button.addEventListener("click", () => {
        panel.arms.forEach((_, index) => (on ? hidden.delete(index) : hidden.add(index)));
        for (const box of boxes) box.checked = on;
        draw();
      });
      legend.append(button);
    };
    switchAll("all", true);
    switchAll("none", false);
    panel.arms.forEach((arm, index) => {
      const label = plain("label"), box = plain("input"), swatch = make("svg", { viewBox: "0 0 26 8", "aria-hidden": "true" });
      box.type = "checkbox";
      box.checked = !hidden.has(index);
      box.addEventListener("change", () => {
        if (box.checked) hidden.delete(index);
        else hidden.add(index);
        draw();
      });
      boxes.push(box);
      swatch.append(make("path", { class: `line ${styleOf(arm.style)}`, d: "M1 4H25" }));
      label.append(box, swatch, `${arm.name} (${arm.result})`);
      legend.append(label);
    });
  }

  chooser("Metric", data.metrics.map((metric) => metric.name), (value) => {
    state.metric = value;
    draw();
  });
  chooser("Runs of", data.panels.map((panel) => panel.name), (value) => {
    state.panel = value;
    toggles();
    draw();
  });
  toggles();
  draw();
})();
