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

/** "1 row", "2 rows". */
function counted(number, one, many = `${one}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
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
