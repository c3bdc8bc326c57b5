// Keys and buttons, and the start.

function decide(mark) {
  setMark(mark);
  go(mark ? current + 1 : current);
}

function rejectWithReason() {
  setMark("reject", marks.get(shown[current]?.id)?.reason);
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
  "/": () => element("search").focus(),
};
listenTo(KEYS);

const BUTTONS = { accept: "a", reject: "r", undo: "u", next: "n", previous: "p" };
for (const [id, key] of Object.entries(BUTTONS)) {
  element(id).addEventListener("click", (event) => {
    event.currentTarget.blur();
    KEYS[key]();
  });
}
element("reason").addEventListener("input", (event) => setMark("reject", event.target.value));
element("reason").addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return;
  event.target.blur();
  go(current + 1);
});
element("search").addEventListener("input", applyFilters);
element("list").addEventListener("scroll", () => requestAnimationFrame(drawRows));
window.addEventListener("resize", drawRows);
element("export").addEventListener("click", exportMarks);
element("import").addEventListener("click", () => element("file").click());
element("file").addEventListener("change", (event) => {
  if (event.target.files.length) importMarks(event.target.files[0]);
  event.target.value = "";
});

loadMarks();
buildFilters();
showCounts();
applyFilters();
