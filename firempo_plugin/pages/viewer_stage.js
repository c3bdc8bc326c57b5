// Panes beside each other that show the same piece of an image: what is in sight, and how pointers move it.

const STAGE_MOST = 64;
const STAGE_SVG = "http://www.w3.org/2000/svg";

/** An element with a class, inside another. */
function stageNode(parent, className, tag = "div") {
  const node = document.createElement(tag);
  node.className = className;
  parent.append(node);
  return node;
}

/** A small picture of the page, which may be far from what is seen of it. */
function stageCopy(picture) {
  const copy = picture.cloneNode();
  copy.removeAttribute("style");
  if (picture.tagName === "CANVAS") paintPicture(copy); // of page.js, which alone makes canvases
  return copy;
}

/**
 * A picture in full resolution, loaded now; the small one stands in its place until then, and for good where the file
 * is not there.
 */
function stagePicture(part, layer, settled) {
  const small = stageCopy(part.small);
  small.dataset.part = part.name;
  layer.append(small);
  if (!part.full) return settled(part, "small");
  const full = new Image();
  full.alt = part.alt;
  full.dataset.part = part.name;
  full.addEventListener("load", () => {
    full.hidden = small.hidden;
    full.className = small.className;
    small.replaceWith(full);
    settled(part, "full");
  });
  full.addEventListener("error", () => settled(part, "small"));
  full.src = part.full;
}

class FirempoStage {
  /**
   * box: where the panes lie. changed: called when the zoom has changed. dragged: called with the way of a drag, in
   * pixels, that is not to move the image.
   */
  constructor(box, changed, dragged) {
    this.box = box;
    this.changed = changed;
    this.dragged = dragged;
    this.pointers = new Map();
    this.panes = [0, 1].map(() => {
      const pane = stageNode(box, "firempo-pane");
      const pixels = stageNode(stageNode(pane, "firempo-pixels"), "firempo-layer");
      const marks = stageNode(stageNode(pane, "firempo-marks"), "firempo-layer");
      return { pane, pixels, marks, title: stageNode(pane, "firempo-name", "span") };
    });
    new ResizeObserver(() => (this.fitted ? this.fit() : this.draw())).observe(box);
    this.listen();
  }

  /** Shows other pictures: `parts` by name, of the first one's size, and the outline, an SVG element or null. */
  load(parts, outline, settled) {
    const [first] = parts;
    this.width = first.width;
    this.height = first.height;
    for (const [number, { pixels, marks }] of this.panes.entries()) {
      pixels.replaceChildren();
      marks.replaceChildren(...(outline ? [outline.cloneNode(true)] : []));
      for (const layer of [pixels, marks]) {
        layer.style.width = `${this.width}px`;
        layer.style.height = `${this.height}px`;
      }
      for (const part of parts) {
        if (number === 0 || part.name === "noised") stagePicture(part, pixels, settled);
      }
    }
  }

  /** names: of each pane, the parts that are seen in it; the second part of a pane is taken from the first. */
  show(names, titles) {
    for (const [number, { pane, pixels, title }] of this.panes.entries()) {
      pane.hidden = !names[number];
      title.textContent = titles[number] ?? "";
      for (const image of pixels.children) {
        const place = (names[number] ?? []).indexOf(image.dataset.part);
        image.hidden = place < 0;
        image.classList.toggle("firempo-taken-off", place > 0);
      }
    }
    if (this.fitted) this.fit();
    else this.draw();
  }

  fit() {
    const { clientWidth, clientHeight } = this.panes[0].pane;
    this.fitted = true;
    [this.x, this.y] = [this.width / 2, this.height / 2];
    this.scale = Math.min(clientWidth / this.width, clientHeight / this.height) || 1;
    this.draw();
  }

  /** Zooms about a place of a pane, in pixels from its middle, which stays where it is. */
  zoom(scale, dx = 0, dy = 0) {
    const before = this.scale;
    this.scale = Math.min(Math.max(scale, 0.02), STAGE_MOST);
    this.fitted = false;
    this.pan(dx / this.scale - dx / before, dy / this.scale - dy / before);
  }

  /** Moves the image, in its own pixels. */
  pan(dx, dy) {
    this.fitted = false;
    this.x = Math.min(Math.max(this.x - dx, 0), this.width);
    this.y = Math.min(Math.max(this.y - dy, 0), this.height);
    this.draw();
  }

  draw() {
    const { clientWidth, clientHeight } = this.panes[0].pane;
    const [left, top] = [clientWidth / 2 - this.x * this.scale, clientHeight / 2 - this.y * this.scale];
    for (const { pixels, marks } of this.panes) {
      for (const layer of [pixels, marks]) layer.style.transform = `translate(${left}px, ${top}px) scale(${this.scale})`;
    }
    this.box.classList.toggle("firempo-large", this.scale >= 1);
    this.changed();
  }

  /** The matrix of an SVG filter for all pixels, or none. */
  filter(name) {
    for (const { pixels } of this.panes) pixels.parentElement.style.filter = name ? `url(#${name})` : "";
  }

  listen() {
    const { box, pointers } = this;
    /** A place from the middle of the pane that it lies in. */
    const from = (event) => {
      const frame = (event.target.closest(".firempo-pane") ?? this.panes[0].pane).getBoundingClientRect();
      return [event.clientX - frame.left - frame.width / 2, event.clientY - frame.top - frame.height / 2];
    };
    box.addEventListener("contextmenu", (event) => event.preventDefault());
    box.addEventListener("wheel", (event) => {
      event.preventDefault();
      const way = event.deltaY * (event.deltaMode ? 16 : 1) * (event.ctrlKey ? 5 : 1);
      this.zoom(this.scale * Math.exp(-way / 500), ...from(event));
    }, { passive: false });
    box.addEventListener("dblclick", (event) => (this.fitted ? this.zoom(1, ...from(event)) : this.fit()));
    box.addEventListener("pointerdown", (event) => {
      box.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, [event.clientX, event.clientY]);
    });
    box.addEventListener("pointermove", (event) => {
      const before = pointers.get(event.pointerId);
      if (!before) return;
      const way = [event.clientX - before[0], event.clientY - before[1]];
      const other = [...pointers].find(([id]) => id !== event.pointerId)?.[1];
      pointers.set(event.pointerId, [event.clientX, event.clientY]);
      if (event.shiftKey || event.buttons & 2) return this.dragged(...way);
      if (other) this.pinch(before, [event.clientX, event.clientY], other);
      this.pan(way[0] / this.scale / pointers.size, way[1] / this.scale / pointers.size);
    });
    for (const name of ["pointerup", "pointercancel"]) {
      box.addEventListener(name, (event) => pointers.delete(event.pointerId));
    }
  }

  /** One of two fingers has gone from a place to another. */
  pinch(before, after, other) {
    const frame = this.panes[0].pane.getBoundingClientRect();
    const length = ([x, y]) => Math.max(1, Math.hypot(x - other[0], y - other[1]));
    const middle = [(after[0] + other[0]) / 2 - frame.left, (after[1] + other[1]) / 2 - frame.top];
    const [dx, dy] = [middle[0] - frame.width / 2, middle[1] - frame.height / 2];
    this.zoom((this.scale * length(after)) / length(before), dx, dy);
  }
}
