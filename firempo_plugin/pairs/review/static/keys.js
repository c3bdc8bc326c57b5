// Keys and buttons, and the start.

function mark(name, reason) {
  if (!shown[current]) return;
  setMark(shown[current], name, reason);
  showCounts();
}

function decide(name) {
  mark(name);
  go(name ? current + 1 : current);
}

function rejectWithReason() {
  mark("reject", marks.get(shown[current]?.id)?.reason);
  go(current);
  element("reason").focus();
}

const KEYS = {
  a: () => decide("accept"),
  r: () => decide("reject"),
  R: rejectWithReason,
  u: () => decide(null),
  n: () => go(current + 1),
  p: () => go(current - 1),
  ArrowDown: () => go(current + 1),
  ArrowUp: () => go(current - 1),
  o: () => element("pictures").classList.toggle("no-outline"),
  v: () => document.querySelector(".firempo-open")?.click(),
  Escape: () => openList(false),
  "?": () => element("meaning").toggleAttribute("open"),
  "/": () => {
    openList(true);
    element("search").focus();
  },
};
listenTo(KEYS);

const BUTTONS = { accept: "a", reject: "r", undo: "u", next: "n", previous: "p" };
for (const [id, key] of Object.entries(BUTTONS)) {
  element(id).addEventListener("click", (event) => {
    event.currentTarget.blur();
    KEYS[key]();
  });
}
element("reason").addEventListener("input", (event) => mark("reject", event.target.value));
element("reason").addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return;
  event.target.blur();
  go(current + 1);
});
element("search").addEventListener("input", applyFilters);
element("list").addEventListener("scroll", () => requestAnimationFrame(drawRows));
window.addEventListener("resize", drawRows);
element("show-list").addEventListener("click", () => openList(!document.body.classList.contains("list-open")));

drawPlace(page.place);
startMarks();
buildFilters();
showCounts();
applyFilters();
go(firstOpen());
