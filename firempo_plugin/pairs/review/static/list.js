// The filters, and the list of the pairs that pass them, of which only the rows in sight are drawn.

function factOf(record, name) {
  if (name === "mark") return markOf(record) ?? "undecided";
  return String(record.facts[name] ?? "none");
}

function buildFilters() {
  for (const [name, label] of FILTERS) {
    const counts = new Map();
    for (const record of records) counts.set(factOf(record, name), (counts.get(factOf(record, name)) ?? 0) + 1);
    const select = make("select");
    select.dataset.name = name;
    const values = name === "mark" ? ["undecided", "accept", "reject"] : [...counts.keys()].sort();
    select.append(new Option("all", ""));
    for (const value of values) select.append(new Option(name === "mark" ? value : `${value} (${counts.get(value)})`, value));
    select.addEventListener("change", applyFilters);
    const box = make("label", label);
    box.append(select);
    element("filters").append(box);
  }
}

/** The list stays as it is while marks are set, so that Previous leads back to what was just marked. */
function applyFilters() {
  const wanted = [...document.querySelectorAll("#filters select")].filter((select) => select.value);
  const words = element("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const before = shown[current];
  shown = records.filter(
    (record) =>
      wanted.every((select) => factOf(record, select.dataset.name) === select.value) &&
      words.every((word) => record.searchable.includes(word)),
  );
  element("found").textContent = `${shown.length} of ${counted(records.length, "pair")}`;
  element("rows").style.height = `${shown.length * ROW_HEIGHT}px`;
  go(Math.max(0, shown.indexOf(before)));
}

function drawRows() {
  const list = element("list");
  const first = Math.max(0, Math.floor(list.scrollTop / ROW_HEIGHT) - SPARE_ROWS);
  const last = Math.min(shown.length, Math.ceil((list.scrollTop + list.clientHeight) / ROW_HEIGHT) + SPARE_ROWS);
  const rows = [];
  for (let index = first; index < last; index += 1) {
    const record = shown[index];
    const mark = markOf(record);
    const row = make("div", "", index === current ? "row current" : "row");
    row.id = `row-${index}`;
    row.style.top = `${index * ROW_HEIGHT}px`;
    const said = { role: "option", "aria-selected": index === current, "aria-posinset": index + 1, "aria-setsize": shown.length };
    for (const [name, value] of Object.entries(said)) row.setAttribute(name, value);
    const sign = make("span", SIGNS[mark] ?? "", `state ${mark ?? ""}`);
    sign.setAttribute("aria-label", mark ?? "undecided");
    sign.setAttribute("role", "img");
    row.append(sign);
    row.append(make("div", record.question), make("div", `${factOf(record, "noise_path")} · ${record.id}`, "small"));
    row.addEventListener("click", () => {
      go(index);
      openList(false);
    });
    rows.push(row);
  }
  element("rows").replaceChildren(...rows);
  if (shown.length) list.setAttribute("aria-activedescendant", `row-${current}`);
}

/** On a narrow screen the list lies over the pair, while it is open. */
function openList(open) {
  document.body.classList.toggle("list-open", open);
  element("show-list").setAttribute("aria-expanded", String(open));
  if (open) drawRows();
}

function showCounts() {
  const counts = { accept: 0, reject: 0 };
  for (const { mark } of marks.values()) if (mark) counts[mark] += 1;
  const open = records.length - counts.accept - counts.reject;
  element("counts").textContent = `${counts.accept} accepted, ${counts.reject} rejected, ${open} undecided`;
  for (const mark of Object.keys(counts)) {
    element(`bar-${mark}`).style.width = `${(100 * counts[mark]) / Math.max(1, records.length)}%`;
  }
  say("done", open ? "" : "Every pair of this page is decided. Export the marks: until then they are in this browser alone.");
}

/** Draws anew what shows marks. */
function marksChanged() {
  showCounts();
  drawRows();
  drawDetail();
}

/** The place of the first pair without a mark among those in the list; the first one where all have one. */
function firstOpen() {
  return Math.max(0, shown.findIndex((record) => !markOf(record)));
}

/** Goes to a pair; the filters give way where they hide it. */
function goTo(record) {
  if (!shown.includes(record)) {
    for (const select of document.querySelectorAll("#filters select")) select.value = "";
    element("search").value = "";
    applyFilters();
  }
  go(shown.indexOf(record));
}

function go(index) {
  current = Math.min(Math.max(0, index), Math.max(0, shown.length - 1));
  const list = element("list");
  const top = current * ROW_HEIGHT;
  if (top < list.scrollTop) list.scrollTop = top;
  if (top + ROW_HEIGHT > list.scrollTop + list.clientHeight) list.scrollTop = top + ROW_HEIGHT - list.clientHeight;
  drawRows();
  drawDetail();
}
