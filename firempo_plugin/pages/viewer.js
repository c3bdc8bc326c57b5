// One viewer of images for every page and for the board. An element with `data-firempo-view` holds a clean image and its
// noised twin, each an img or a canvas with `data-part`, `data-full` (where the picture in full resolution is), `data-width` and
// `data-height`, and perhaps an svg, the outline of what was hidden. A button .firempo-open in it opens the viewer, whose
// words stand in the attribute `data-firempo-words` of an element around it.

const VIEWER_FLICKER = 500; // milliseconds: fewer than three flashes a second
const VIEWER_STEP = 1.25;
const VIEWER_WINDOW = "firempo-window";

class FirempoViewer {
  /** keys: what each does, by the name of its word; a row of the help and, where `button` says so, a button. */
  keys = [
    { name: "side", keys: ["s"], button: true, pressed: () => this.mode === "side", run: () => this.show("side") },
    { name: "clean", keys: ["c"], button: true, pressed: () => this.mode === "clean", run: () => this.show("clean") },
    { name: "noised", keys: ["n"], button: true, pressed: () => this.mode === "noised", run: () => this.show("noised") },
    { name: "flicker", keys: ["f"], button: true, pressed: () => Boolean(this.timer), run: () => this.flicker() },
    { name: "swap", keys: [" "], run: () => this.swap() },
    {
      name: "difference", keys: ["d"], button: true, pressed: () => this.mode === "difference",
      run: () => this.show("difference"),
    },
    {
      name: "deep", keys: ["b"], button: true, pressed: () => this.mode === "deep", run: () => this.show("deep"),
    },
    { name: "outline", keys: ["o"], button: true, pressed: () => this.outlined, run: () => this.outline() },
    { name: "zoom_in", keys: ["+", "="], button: true, run: () => this.stage.zoom(this.stage.scale * VIEWER_STEP) },
    { name: "zoom_out", keys: ["-"], button: true, run: () => this.stage.zoom(this.stage.scale / VIEWER_STEP) },
    { name: "fit", keys: ["0"], button: true, run: () => this.stage.fit() },
    { name: "actual", keys: ["1"], button: true, run: () => this.stage.zoom(1) },
    { name: "pan_left", keys: ["ArrowLeft"], run: () => this.pan(1, 0) },
    { name: "pan_right", keys: ["ArrowRight"], run: () => this.pan(-1, 0) },
    { name: "pan_up", keys: ["ArrowUp"], run: () => this.pan(0, 1) },
    { name: "pan_down", keys: ["ArrowDown"], run: () => this.pan(0, -1) },
    { name: "narrower", keys: ["["], run: () => this.widen(1 / VIEWER_STEP) },
    { name: "wider", keys: ["]"], run: () => this.widen(VIEWER_STEP) },
    { name: "level_down", keys: [","], run: () => this.raise(-0.02) },
    { name: "level_up", keys: ["."], run: () => this.raise(0.02) },
    { name: "reset_window", keys: ["w"], button: true, run: () => this.resetWindow() },
    { name: "previous", keys: ["PageUp"], run: () => this.turn(-1) },
    { name: "next", keys: ["PageDown"], run: () => this.turn(1) },
    { name: "help", keys: ["?"], button: true, pressed: () => !this.help.hidden, run: () => this.toggleHelp() },
    { name: "close", keys: ["Escape"], button: true, run: () => this.leave() },
  ];

  constructor() {
    document.addEventListener("click", (event) => {
      const opener = event.target.closest?.(".firempo-open");
      const view = opener?.closest("[data-firempo-view]");
      if (view) this.open(view, opener);
    });
  }

  open(view, opener) {
    this.words = JSON.parse(view.closest("[data-firempo-words]").dataset.firempoWords);
    this.views = [...view.closest("[data-firempo-words]").querySelectorAll("[data-firempo-view]")];
    this.opener = opener;
    this.build();
    this.dialog.lang = view.closest("[lang]").lang;
    document.body.append(this.dialog);
    this.dialog.showModal();
    this.box.focus();
    this.load(view, opener.querySelector("[data-part=difference]") ? "difference" : "side");
  }

  build() {
    this.dialog = document.createElement("dialog");
    this.dialog.className = "firempo-viewer";
    const bar = stageNode(this.dialog, "firempo-bar");
    bar.setAttribute("role", "toolbar");
    this.buttons = new Map();
    for (const key of this.keys.filter(({ button }) => button)) {
      const button = stageNode(bar, `firempo-do-${key.name}`, "button");
      button.type = "button";
      button.textContent = this.words[key.name];
      button.title = this.words.key.replace("{key}", key.keys[0]);
      button.addEventListener("click", (event) => {
        key.run();
        this.tell();
        if (event.detail && this.dialog.open) this.box.focus(); // a mouse leaves the keys to the image
      });
      this.buttons.set(key, button);
    }
    const slides = stageNode(bar, "firempo-slide");
    this.sliders = ["level", "width"].map((name) => {
      const label = stageNode(slides, "firempo-slide", "label");
      label.textContent = this.words[name];
      const slider = stageNode(label, "", "input");
      slider.type = "range";
      slider.step = "any";
      slider.addEventListener("input", () => this.setWindow(...this.sliders.map((each) => Number(each.value))));
      return slider;
    });
    this.box = stageNode(this.dialog, "firempo-stage");
    this.box.tabIndex = 0;
    this.box.setAttribute("role", "group");
    this.help = stageNode(this.dialog, "firempo-help");
    this.help.hidden = true;
    this.help.tabIndex = 0; // it scrolls
    this.fillHelp();
    this.status = stageNode(this.dialog, "firempo-status", "output");
    this.buildFilter();
    this.stage = new FirempoStage(this.box, () => this.tell(), (dx, dy) => this.drag(dx, dy));
    this.dialog.addEventListener("keydown", (event) => this.press(event));
    this.dialog.addEventListener("close", () => this.closed());
  }

  buildFilter() {
    const svg = document.createElementNS(STAGE_SVG, "svg");
    svg.classList.add("firempo-filter");
    svg.setAttribute("aria-hidden", "true");
    const filter = document.createElementNS(STAGE_SVG, "filter");
    filter.id = VIEWER_WINDOW;
    filter.setAttribute("color-interpolation-filters", "sRGB");
    for (const [name, value] of Object.entries({ x: 0, y: 0, width: 1, height: 1 })) filter.setAttribute(name, value);
    this.matrix = document.createElementNS(STAGE_SVG, "feColorMatrix");
    filter.append(this.matrix);
    svg.append(filter);
    this.dialog.append(svg);
  }

  fillHelp() {
    const list = stageNode(this.help, "", "dl");
    const rows = this.keys.map(({ name, keys }) => [keys.join(" "), this.words[name]]);
    for (const [key, word] of [...rows, ["", this.words.mouse], ["", this.words.touch]]) {
      stageNode(list, "", "dt").textContent = key === " " ? this.words.space : key;
      stageNode(list, "", "dd").textContent = word;
    }
  }

  /** wanted: how to show them; side by side unless told otherwise. */
  load(view, wanted) {
    this.view = view;
    const images = [...view.querySelectorAll("[data-part]")].filter((image) => image.dataset.part !== "difference");
    this.parts = images.map((image) => ({
      name: image.dataset.part,
      alt: image.alt ?? image.getAttribute("aria-label"),
      small: image,
      full: image.dataset.full,
      width: Number(image.dataset.width),
      height: Number(image.dataset.height),
      settled: "loading",
    }));
    const [first] = this.parts;
    const deep = images.find((image) => image.dataset.deep);
    this.deep = deep ? JSON.parse(deep.dataset.deep) : null;
    if (deep) {
      const { width, height } = this.parts[images.indexOf(deep)];
      const alt = this.words.deep;
      this.parts.push({ name: "deep", alt, small: deep, full: this.deep.full, width, height, settled: "loading" });
    }
    this.twins = this.parts.filter(({ name }) => name !== "deep").length > 1;
    const alike = this.twins && first.width === this.parts[1].width && first.height === this.parts[1].height;
    const can = {
      side: this.twins, clean: this.has("clean"), noised: this.has("noised"), flicker: this.twins, difference: alike,
      deep: Boolean(deep), outline: Boolean(view.querySelector("svg")),
    };
    for (const [key, button] of this.buttons) {
      button.disabled = can[key.name] === false;
      button.hidden = key.name === "deep" && !deep;
    }
    this.windows = {
      picture: { low: 0, high: 255, bounds: [0, 255] },
      difference: { low: 0, high: 64, bounds: [0, 255] },
      ...(deep && { deep: { low: this.deep.window[0], high: this.deep.window[1], bounds: [this.deep.low, this.deep.high] } }),
    };
    this.asGiven = structuredClone(this.windows);
    this.outlined = can.outline;
    this.stop();
    this.stage.load(this.parts, view.querySelector("svg"), (part, settled) => {
      part.settled = settled;
      this.tell();
    });
    this.stage.fitted = true;
    this.show(this.twins ? wanted : first.name);
  }

  has(name) {
    return this.parts.some((part) => part.name === name);
  }

  /** Shows the pictures in one way; what cannot be shown so stays as it is. */
  show(mode) {
    this.stop();
    this.see(mode);
  }

  see(mode) {
    const button = [...this.buttons].find(([key]) => key.name === mode)?.[1];
    if (button?.disabled) return;
    this.mode = mode;
    const names = { side: [["clean"], ["noised"]], difference: [["clean", "noised"]] }[mode] ?? [[mode]];
    const titles = mode === "side" ? [this.words.clean, this.words.noised] : [this.words[mode]];
    this.stage.show(names, titles);
    this.drawWindow();
  }

  flicker() {
    if (this.timer) return this.stop();
    if (!this.twins) return;
    this.swap();
    this.timer = setInterval(() => {
      this.see(this.mode === "clean" ? "noised" : "clean");
    }, VIEWER_FLICKER);
  }

  stop() {
    clearInterval(this.timer);
    this.timer = null;
  }

  swap() {
    if (this.twins) this.show(this.mode === "clean" ? "noised" : "clean");
  }

  outline() {
    this.outlined = !this.outlined && Boolean(this.view.querySelector("svg"));
    this.tell();
  }

  pan(x, y) {
    const step = 80 / this.stage.scale;
    this.stage.pan(x * step, y * step);
  }

  turn(step) {
    const next = this.views[this.views.indexOf(this.view) + step];
    if (next?.querySelector("[data-part]")) this.load(next, this.mode);
  }

  // The window: the values that become black and white.

  window() {
    return this.windows[this.mode] ?? this.windows.picture;
  }

  setWindow(level, width) {
    const { bounds } = this.window();
    const full = bounds[1] - bounds[0];
    const least = this.mode === "deep" ? this.deep.step : 1;
    const half = Math.min(Math.max(width, least), full * 2) / 2;
    const middle = Math.min(Math.max(level, bounds[0]), bounds[1]);
    Object.assign(this.window(), { low: middle - half, high: middle + half });
    this.drawWindow();
  }

  widen(factor) {
    const { low, high } = this.window();
    this.setWindow((low + high) / 2, (high - low) * factor);
  }

  raise(share) {
    const { low, high, bounds } = this.window();
    this.setWindow((low + high) / 2 + share * (bounds[1] - bounds[0]), high - low);
  }

  drag(dx, dy) {
    const { low, high, bounds } = this.window();
    const unit = (bounds[1] - bounds[0]) / 512;
    this.setWindow((low + high) / 2 - dy * unit, high - low + dx * unit);
  }

  resetWindow() {
    Object.assign(this.window(), this.asGiven[this.mode] ?? this.asGiven.picture);
    this.drawWindow();
  }

  drawWindow() {
    const { low, high, bounds } = this.window();
    const plain = this.mode !== "deep" && low === 0 && high === 255;
    this.matrix.setAttribute("values", this.mode === "deep" ? this.deepMatrix() : plainMatrix(low, high));
    this.stage.filter(plain ? "" : VIEWER_WINDOW);
    const [level, width] = this.sliders;
    [level.min, level.max, level.value] = [bounds[0], bounds[1], (low + high) / 2];
    [width.min, width.max, width.value] = [0, bounds[1] - bounds[0], high - low];
    this.tell();
  }

  /** Red holds the upper and green the lower eight bits: value = low + step (256 · red + green). */
  deepMatrix() {
    const { low, high } = this.window();
    const sign = this.deep.negative ? -1 : 1;
    const unit = (sign * this.deep.step * 255) / (high - low);
    const offset = (sign * (this.deep.low - low)) / (high - low) + (this.deep.negative ? 1 : 0);
    const row = `${unit * 256} ${unit} 0 0 ${offset}`;
    return `${row} ${row} ${row} 0 0 0 1 0`;
  }

  // What is said, and the end.

  tell() {
    if (!this.mode) return;
    for (const [key, button] of this.buttons) {
      if (key.pressed) button.setAttribute("aria-pressed", String(Boolean(key.pressed())));
    }
    this.box.classList.toggle("firempo-no-outline", !this.outlined);
    const { low, high } = this.window();
    const seen = this.stage.panes.flatMap(({ pane, pixels }) => (pane.hidden ? [] : [...pixels.children]));
    const names = new Set(seen.filter((image) => !image.hidden).map((image) => image.dataset.part));
    const shown = this.parts.filter(({ name }) => names.has(name));
    const missing = shown.some(({ settled }) => settled === "small");
    const digits = high - low < 10 ? 2 : 0;
    this.status.textContent = [
      `${this.stage.width} × ${this.stage.height}`,
      `${Math.round(this.stage.scale * 100)} %`,
      `${this.words.window} ${low.toFixed(digits)} – ${high.toFixed(digits)}`,
      ...(missing ? [this.words.missing] : []),
      ...(shown.some(({ settled }) => settled === "loading") ? [this.words.loading] : []),
    ].join(" · ");
    this.box.setAttribute("aria-label", this.words[this.mode]);
    this.dialog.setAttribute("aria-label", this.words.viewer);
    this.dialog.dataset.mode = this.mode;
  }

  toggleHelp() {
    this.help.hidden = !this.help.hidden;
    if (!this.help.hidden) this.help.focus();
    this.tell();
  }

  /** Nothing that is pressed here reaches the page below. */
  press(event) {
    event.stopPropagation();
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.matches("button") && [" ", "Enter"].includes(event.key)) return;
    if (event.target.matches("input") && /^(Arrow|Page|Home|End)/.test(event.key)) return;
    const key = this.keys.find(({ keys }) => keys.includes(event.key));
    if (!key) return;
    event.preventDefault();
    key.run();
    if (this.dialog.open) this.tell();
  }

  /** Closes the help, or else the viewer. */
  leave() {
    if (this.help.hidden) return this.dialog.close();
    this.help.hidden = true;
    this.box.focus();
  }

  closed() {
    this.stop();
    this.dialog.remove();
    const opener = this.view.contains(this.opener) ? this.opener : this.view.querySelector(".firempo-open");
    opener?.focus();
  }
}

/** What lies between two values of 0-255 takes all of black to white. */
function plainMatrix(low, high) {
  const gain = 255 / (high - low);
  const offset = -low / (high - low);
  return `${gain} 0 0 0 ${offset} 0 ${gain} 0 0 ${offset} 0 0 ${gain} 0 ${offset} 0 0 0 1 0`;
}

const firempoViewer = new FirempoViewer();
