"use strict";

// What every page does; its own script follows.

const element = (id) => document.getElementById(id);

/** The data of a block, which the page then no longer holds as text. */
function takeData(id) {
  const node = element(id);
  const data = JSON.parse(node.textContent);
  node.remove();
  return data;
}

/** The data of a block that is needed only now and then: it stays in the page as text. */
const readData = (id) => JSON.parse(element(id).textContent);

const NEAR = "50% 0px"; // of the window: so far above and below it pictures are painted already
const far = new WeakSet();
const nearness = new IntersectionObserver(
  (changes) => {
    for (const { target, isIntersecting } of changes) (isIntersecting ? paintPicture : dropPicture)(target);
  },
  { rootMargin: NEAR },
);

/**
 * A small picture by its number, with what the viewer reads of it, painted as long as it is near the window. It is a
 * canvas, for browsers keep what the images of a page were decoded to: of 2,000 pairs half a gigabyte.
 */
function drawPicture(index, label, about) {
  const canvas = document.createElement("canvas");
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", label);
  Object.assign(canvas.dataset, about, { picture: index });
  if (about.width) canvas.style.aspectRatio = `${about.width} / ${about.height}`;
  nearness.observe(canvas);
  return canvas;
}

/** Paints a canvas of `drawPicture`, or a copy of one, unless it has left the page or is far from the window by then. */
function paintPicture(canvas) {
  far.delete(canvas);
  const [head, text] = readData(`picture-${canvas.dataset.picture}`).split(",");
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  createImageBitmap(new Blob([bytes], { type: head.slice("data:".length, head.indexOf(";")) })).then((bitmap) => {
    if (canvas.isConnected && !far.has(canvas)) {
      [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
      canvas.getContext("2d").drawImage(bitmap, 0, 0);
    }
    bitmap.close();
  });
}

/** A picture gives its memory back at once, and keeps its place. */
function dropPicture(canvas) {
  far.add(canvas);
  [canvas.width, canvas.height] = [0, 0];
}

/** Puts nodes in the place of those of an element, whose pictures are dropped. */
function replacePictures(parent, nodes) {
  for (const canvas of parent.querySelectorAll("canvas")) {
    nearness.unobserve(canvas);
    dropPicture(canvas);
  }
  parent.replaceChildren(...nodes);
}

/** Characters that turn the direction of what follows are written out: a text looks as it is read. */
function visible(text) {
  return text.replace(/[\u202a-\u202e\u2066-\u2069]/g, (mark) => `[U+${mark.codePointAt(0).toString(16).toUpperCase()}]`);
}

function make(tag, text = "", className = "") {
  const node = document.createElement(tag);
  node.textContent = visible(text);
  node.className = className;
  return node;
}

/** "1 row", "2 rows". */
function counted(number, one, many = `${one}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}

/** Of a page that is one of several, where it stands and the way to the others. */
function drawPlace(place) {
  element("parts").hidden = !place;
  if (!place) return;
  const links = [["Index", place.index], ["Page before", place.previous], ["Next page", place.next]];
  const nodes = links.filter(([, address]) => address).map(([label, address]) => {
    const link = make("a", label);
    link.href = address;
    return link;
  });
  element("parts").replaceChildren(make("span", `page ${place.number} of ${place.of}`), ...nodes);
}

/** Calls the function of a key that is pressed, unless something is being written. */
function listenTo(keys) {
  document.addEventListener("keydown", (event) => {
    const typing = event.target.matches("input, select");
    if (typing && event.key === "Escape") event.target.blur();
    if (typing || event.ctrlKey || event.metaKey || event.altKey || !(event.key in keys)) return;
    event.preventDefault();
    keys[event.key]();
  });
}
