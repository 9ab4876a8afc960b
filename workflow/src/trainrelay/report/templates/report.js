// Over the drawn curves: exact values under the pointer, zoom, axes, smoothing, curves that can be hidden; tables
// that can be sorted. It draws what plots.py draws, from the values in data-plot; without it the page is whole.
"use strict";
(() => {
  const LEFT = 55, RIGHT = 434, TOP = 7, BOTTOM = 199, HEIGHT = 236; // as in plots.py
  const MOST_TICKS = 8, FEW_POINTS = 30, LEAST_DRAG = 5, NEAR = 6;
  const SVG = "http://www.w3.org/2000/svg";
  const view = { across: "epoch", scale: "auto", smooth: 0 };

  const element = (name, text, attributes = {}) => {
    const made = document.createElement(name);
    made.textContent = text;
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };
  const shape = (name, attributes, text = "") => {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.textContent = text;
    return made;
  };

  const inked = (what, at) => `${what}-s${at % 8 + 1}`; // as many colours as style sheet and plots.py have

  // ---------------------------------------------------------------- numbers

  const short = value => {
    if (value && (Math.abs(value) < 1e-2 || Math.abs(value) >= 1e5))
      return value.toExponential(3).replace(/\.?0*e\+?/, "e");
    return String(+value.toPrecision(6));
  };

  const axis = (values, start, end, margin, log) => {
    const shown = log ? values.map(Math.log10) : values.length ? values : [0, 1];
    let low = Infinity, high = -Infinity;
    for (const value of shown) { low = Math.min(low, value); high = Math.max(high, value); }
    if (high - low <= Math.max(1e-9 * Math.abs(low), 1e-9 * Math.abs(high), 1e-290)) {
      const beside = Math.max(Math.abs(low), Math.abs(high)) / 20 || 0.05;
      low -= beside;
      high += beside;
    }
    const room = margin * (high - low);
    low -= room;
    high += room;
    return {
      low, high, log,
      px: value => start + ((log ? Math.log10(value) : value) - low) / (high - low) * (end - start),
      value: px => low + (px - start) / (end - start) * (high - low),
    };
  };

  const ticks = ({ low, high, log }, whole) => {
    if (log && high - low <= 3) {
      const found = [];
      for (let power = Math.floor(low); power < Math.ceil(high); power++)
        for (const digit of [1, 2, 5]) found.push(digit * 10 ** power);
      return found.filter(value => Math.log10(value) >= low && Math.log10(value) <= high);
    }
    const unit = 10 ** Math.floor(Math.log10((high - low) / MOST_TICKS));
    const steps = [1, 2, 5, 10].map(digit => Math.max(whole || log ? 1 : 0, digit * unit));
    const step = steps.find(each => high - low <= MOST_TICKS * each) || steps[3];
    const found = [];
    for (let at = Math.ceil(low / step); at <= Math.floor(high / step); at++)
      found.push(log ? 10 ** (at * step) : at * step);
    return found;
  };

  // The hours at a step, as the last attempt that did it came there; past its ends at its pace.
  const hours = (clock, step) => {
    const [start, begun, end, ended] = clock.findLast(([at]) => at < step) || clock[0];
    return begun + (ended - begun) * (step - start) / (end - start);
  };

  // A mean that forgets, over the points that are drawn; 0 is none, near 1 the smoothest.
  const smoothed = values => {
    let sum = 0, weight = 0;
    return values.map(value => {
      if (value === null) return null;
      sum = view.smooth * sum + (1 - view.smooth) * value;
      weight = view.smooth * weight + (1 - view.smooth);
      return sum / weight;
    });
  };

  // ---------------------------------------------------------------- one plot

  class Plot {
    constructor(figure, stage) {
      Object.assign(this, { figure, stage, svg: figure.querySelector(".chart"), hidden: new Set() });
      Object.assign(this, JSON.parse(figure.dataset.plot));
      this.scale = figure.querySelector("figcaption small");
      for (const item of figure.querySelectorAll("[data-line]")) this.toggle(item);
      this.tip = element("div", "", { class: "tip", hidden: "" });
      figure.append(this.tip);
      this.svg.addEventListener("pointermove", event => this.moved(event));
      this.svg.addEventListener("pointerleave", () => this.stage.point(null));
      this.svg.addEventListener("pointerdown", event => this.pressed(event));
      this.svg.addEventListener("pointerup", event => this.released(event));
      this.svg.addEventListener("dblclick", () => this.stage.zoom(null));
    }

    toggle(item) {
      const at = +item.dataset.line, name = item.querySelector(".name");
      const button = element("button", "", { type: "button", class: "name" });
      if ("off" in item.dataset) this.hidden.add(at);
      button.setAttribute("aria-pressed", String(!this.hidden.has(at)));
      button.append(...name.childNodes);
      name.replaceWith(button);
      button.addEventListener("click", () => {
        this.hidden.has(at) ? this.hidden.delete(at) : this.hidden.add(at);
        button.setAttribute("aria-pressed", String(!this.hidden.has(at)));
        this.draw();
      });
    }

    // A step on the axis that is chosen; by iterations where that one is not known.
    place(step) {
      if (view.across === "time" && this.stage.clock.length) return hours(this.stage.clock, step);
      return this.byEpoch ? step / this.unit : step;
    }

    // Where steps are epochs, there are no iterations to show.
    get byEpoch() {
      return this.unit === 1 || (this.unit && view.across !== "iteration");
    }

    get word() {
      if (view.across === "time" && this.stage.clock.length) return "hours";
      return this.byEpoch ? "epoch" : "iteration";
    }

    draw() {
      const shown = this.lines.map((line, at) => ({ ...line, at })).filter(line => !this.hidden.has(line.at));
      const range = this.stage.range;
      const inside = step => !range || (step >= range[0] && step <= range[1]);
      const steps = range || [...this.lines.flatMap(line => line.x), ...this.marks.map(mark => mark[1]),
        ...(this.span || [])];
      this.across = axis([...steps].map(step => this.place(step)), LEFT, RIGHT, range ? 0 : 0.01, false);
      for (const line of shown) line.drawn = view.smooth && line.y.length > FEW_POINTS ? smoothed(line.y) : line.y;
      const visible = (values, { x }) => values.filter((value, at) => value !== null && inside(x[at]));
      const heights = shown.flatMap(line => [...visible(line.y, line), ...visible(line.drawn, line)]);
      if (!range) heights.push(...this.levels);
      const positive = heights.length > 0 && heights.every(value => value > 0);
      const log = view.scale === "auto" ? this.log && positive : view.scale === "log" && positive;
      this.up = axis(heights, BOTTOM, TOP, 0.06, log);
      const parts = [...this.marks.map(mark => this.mark(mark)), ...this.axes()];
      for (const line of shown) parts.push(...this.curve(line, inside));
      for (const level of this.levels)
        parts.push(this.path("stroke-level", 1.2, `M${LEFT} ${this.up.px(level)}H${RIGHT}`, "6 3"));
      this.cross = shape("path", { class: "cross", d: "" });
      this.svg.replaceChildren(...parts.filter(Boolean), this.cross);
      if (!this.scale) this.figure.querySelector("figcaption").append(" ", this.scale = element("small", ""));
      this.scale.textContent = log ? "log scale" : view.scale === "log" ? "linear, as not all is above 0" : "";
    }

    path(colour, width, d, dashes = "none") {
      return shape("path", { class: colour, fill: "none", "stroke-width": width, d, "stroke-dasharray": dashes,
        "stroke-linejoin": "round" });
    }

    mark([kind, step, until, text]) {
      const x = this.across.px(this.place(step)), end = this.across.px(this.place(until ?? step));
      const from = Math.max(x, LEFT), to = Math.min(end, RIGHT);
      if (to < LEFT || from > RIGHT) return null;
      const band = `M${from} ${TOP}H${to}V${BOTTOM}H${from}Z`;
      const d = { redone: band, rate: `M${x - 4} ${TOP}h8l-4 7Z` }[kind] || `M${x} ${TOP}V${BOTTOM}`;
      const made = shape("path", { class: `mark-${kind}`, d });
      made.append(shape("title", {}, text));
      return made;
    }

    axes() {
      const text = (anchor, x, y, words) => shape("text", { class: "fill-muted", "text-anchor": anchor, x, y }, words);
      const heights = ticks(this.up, false), places = ticks(this.across, !this.stage.range && view.across !== "time");
      return [
        this.path("stroke-grid", 0.8, heights.map(value => `M${LEFT} ${this.up.px(value)}H${RIGHT}`).join("")),
        this.path("stroke-muted", 0.8, `M${LEFT} ${BOTTOM}H${RIGHT}`),
        ...heights.map(value => text("end", LEFT - 5, this.up.px(value) + 4, short(value))),
        ...places.map(value => text("middle", this.across.px(value), BOTTOM + 16, short(value))),
        text("end", RIGHT, HEIGHT - 5, this.word),
      ];
    }

    // With a gap and a cross where a value is not finite; what is beside the range is cut off.
    curve({ at, x, y, drawn }, inside) {
      const parts = [];
      const add = (values, width, more = "") => {
        let d = "", pen = "M";
        values.forEach((value, i) => {
          if (value !== null) d += `${pen}${this.across.px(this.place(x[i])).toFixed(1)} ${this.up.px(value).toFixed(1)}`;
          pen = value === null ? "M" : "L";
        });
        const made = this.path(`${inked("stroke", at)}${more}`, width, d, at < 8 ? "none" : at < 16 ? "5 3" : "2 2");
        if (this.stage.range) made.setAttribute("clip-path", "url(#plot-area)");
        parts.push(made);
      };
      if (drawn !== y) add(y, 1, " raw");
      add(drawn, 1.6);
      const dots = y.filter((value, i) => value !== null && inside(x[i])).length <= FEW_POINTS;
      y.forEach((value, i) => {
        if (!inside(x[i])) return;
        const across = this.across.px(this.place(x[i]));
        if (value === null) parts.push(this.path("stroke-bad", 1.8, `M${across - 3} ${BOTTOM - 10}l6 6m0 -6l-6 6`));
        else if (dots) parts.push(shape("circle", { class: inked("fill", at), cx: across, cy: this.up.px(value), r: 2.25 }));
      });
      return parts;
    }

    // -------------------------------------------------------------- the pointer

    px(event) {
      const box = this.svg.getBoundingClientRect();
      return Math.min(Math.max((event.clientX - box.left) / box.width * 440, LEFT), RIGHT);
    }

    // The step of any visible curve that is nearest to there.
    step(px) {
      let best = null, least = Infinity;
      this.lines.forEach((line, at) => this.hidden.has(at) || line.x.forEach(step => {
        const far = Math.abs(this.across.px(this.place(step)) - px);
        if (far < least) [best, least] = [step, far];
      }));
      return best;
    }

    pressed(event) {
      if (event.button || event.pointerType === "touch") return;
      this.from = this.px(event);
      this.svg.setPointerCapture(event.pointerId);
      event.preventDefault();
    }

    moved(event) {
      const px = this.px(event);
      if (this.from !== undefined) {
        this.tip.hidden = true;
        this.cross.setAttribute("class", "chosen");
        this.cross.setAttribute("d", `M${this.from} ${TOP}H${px}V${BOTTOM}H${this.from}Z`);
      } else this.stage.point(this.step(px), this);
    }

    released(event) {
      const from = this.from, to = this.px(event);
      this.from = undefined;
      if (from === undefined || Math.abs(from - to) < LEAST_DRAG) return;
      const [low, high] = [this.step(Math.min(from, to)), this.step(Math.max(from, to))];
      if (low !== null && high > low) this.stage.zoom([low, high]);
      else this.stage.point(null);
    }

    // A line through a step, and with `told` what the curves are there.
    point(step, told) {
      const x = step === null ? 0 : this.across.px(this.place(step));
      const inside = step !== null && x >= LEFT - 1 && x <= RIGHT + 1;
      this.cross.setAttribute("class", "cross");
      this.cross.setAttribute("d", inside ? `M${x} ${TOP}V${BOTTOM}` : "");
      this.tip.hidden = !told || !inside;
      if (this.tip.hidden) return;
      const epochs = this.unit ? `epoch ${+(step / this.unit).toFixed(3)}` : "";
      const iterations = this.unit === 1 ? "" : `iteration ${step.toLocaleString("en")}`;
      const time = this.stage.clock.length ? `${hours(this.stage.clock, step).toFixed(2)} h` : "";
      this.tip.replaceChildren(element("p", [epochs, iterations, time].filter(Boolean).join(" · ")));
      const rows = element("dl", "");
      this.lines.forEach((line, at) => {
        if (this.hidden.has(at)) return;
        const where = line.x.reduce((best, each, i) => Math.abs(each - step) < Math.abs(line.x[best] - step) ? i : best, 0);
        const value = line.y[where], apart = line.x[where] !== step;
        const words = value === null ? "not finite" : `${line.mean ? "≈ " : ""}${value}`;
        const row = element("div", "");
        row.append(element("dt", line.name, { class: inked("ink", at) }),
          element("dd", apart ? `${words} at ${+(line.x[where] / (this.unit || 1)).toFixed(2)}` : words));
        rows.append(row);
      });
      this.tip.append(rows);
      for (const [, start, until, text] of this.marks) {
        const [left, right] = [start, until ?? start].map(each => this.across.px(this.place(each)));
        if (x >= left - NEAR && x <= right + NEAR) this.tip.append(element("p", text));
      }
      const box = this.svg.getBoundingClientRect(), room = this.figure.getBoundingClientRect();
      const at = box.left - room.left + x / 440 * box.width, side = x > 245;
      this.tip.style.left = side ? "auto" : `${at + 12}px`;
      this.tip.style.right = side ? `${room.width - at + 12}px` : "auto";
      this.tip.style.maxWidth = `${(side ? at : room.width - at) - 20}px`;
    }
  }

  // ---------------------------------------------------------------- the plots of a stage, and the page

  class Stage {
    constructor(plots) {
      this.clock = JSON.parse(plots.dataset.clock);
      this.range = null;
      this.plots = [...plots.querySelectorAll("[data-plot]")].map(figure => new Plot(figure, this));
      this.draw();
    }
    draw() { for (const plot of this.plots) plot.draw(); }
    zoom(range) { this.range = range; this.draw(); this.point(null); }
    point(step, told) { for (const plot of this.plots) plot.point(step, plot === told); }
  }

  const stages = [...document.querySelectorAll(".plots")].map(plots => new Stage(plots));

  const choice = (label, words, set) => {
    const made = element("label", `${label} `), select = element("select", "");
    for (const word of words) select.append(element("option", word));
    select.addEventListener("change", () => { set(select.value); for (const stage of stages) stage.draw(); });
    made.append(select);
    return made;
  };

  const tools = () => {
    const made = element("div", "", { class: "tools" }), smooth = element("label", "Smoothing ");
    const slider = element("input", "", { type: "range", min: 0, max: 0.98, step: 0.02, value: 0 });
    slider.addEventListener("input", () => { view.smooth = +slider.value; for (const stage of stages) stage.draw(); });
    smooth.append(slider);
    const plots = stages.flatMap(stage => stage.plots);
    const axes = [
      ["epoch", plots.some(plot => plot.unit)], // unknown where a training counts iterations alone
      ["iteration", plots.some(plot => plot.unit !== 1)],
      ["time", stages.some(stage => stage.clock.length)],
    ].filter(([, there]) => there).map(([word]) => word);
    view.across = axes[0];
    made.append(choice("Over", axes, word => { view.across = word; }),
      choice("Scale", ["auto", "linear", "log"], word => { view.scale = word; }), smooth,
      element("span", "Drag to zoom, double-click to see all; a name hides its curve."));
    return made;
  };
  if (stages.some(stage => stage.plots.length)) {
    const hold = shape("svg", { width: 0, height: 0, "aria-hidden": "true", class: "defs" });
    const area = shape("clipPath", { id: "plot-area" });
    area.append(shape("rect", { x: LEFT, y: 0, width: RIGHT - LEFT, height: BOTTOM + 2 }));
    hold.append(area);
    document.body.append(hold);
    document.querySelector(".plots").closest("section").querySelector("h2").after(tools());
  }

  // A click on a column's head sorts its table; numbers by data-value.
  for (const head of document.querySelectorAll(".sortable th")) {
    const button = element("button", head.textContent, { type: "button" });
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const each of head.parentElement.children) each.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const body = head.closest("table").tBodies[0], at = head.cellIndex;
      const key = row => (row.cells[at].dataset.value ?? row.cells[at].textContent).replace(/^nan$/, "");
      const order = (a, b) => a === "" || b === "" ? (a === "") - (b === "")
        : (down ? -1 : 1) * (isNaN(a - b) ? a.localeCompare(b) : a - b);
      body.append(...[...body.rows].sort((a, b) => order(key(a), key(b))));
    });
  }

  // While a training runs, the page is read again, but not under your hands.
  const again = +document.body.dataset.refreshS;
  let touched = Date.now();
  for (const kind of ["pointermove", "keydown", "scroll"]) addEventListener(kind, () => { touched = Date.now(); });
  if (again) setInterval(() => {
    if (Date.now() - touched >= again * 1000 && !stages.some(stage => stage.range)) location.reload();
  }, again * 1000);
})();
