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

const pictureBlocks = [];

function pictureBlock(number) {
  pictureBlocks[number] ??= takeData(`pictures-${number}`);
  return pictureBlocks[number];
}

/** A small picture by its number; its block is read when the first picture of it is asked for. */
function pictureOf(index) {
  const size = pictureBlock(0).length;
  return pictureBlock(Math.floor(index / size))[index % size];
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
