// Rows are markup that was escaped when the page was written. It lies in blocks, one a row, read when the row is shown,
// and names its pictures `#0`, `#1`, ... All other text reaches the page through textContent.

const PAGE = 10;
const ALL = "";
const PROBLEMS = "*";

const page = takeData("page-data");
const rows = takeData("row-data");
let shown = rows;
let first = 0;
let current = null;
let waiting = 0;

for (const [index, row] of rows.entries()) {
  row.markup = `markup-${index}`;
  row.number = Number(row.place.match(/\d+$/)?.[0] ?? -1);
  row.text = row.text.toLowerCase();
}

function fits(row, kind) {
  return kind === ALL || (kind === PROBLEMS ? row.kinds.length > 0 : row.kinds.includes(kind));
}

function filter() {
  clearTimeout(waiting);
  const kind = element("filter").value;
  const text = element("search").value.toLowerCase().trim();
  shown = rows.filter((row) => fits(row, kind) && (!text || row.text.includes(text)));
  current = null;
  go(0);
}

function go(place) {
  const last = Math.max(0, Math.floor((shown.length - 1) / PAGE) * PAGE);
  first = Math.min(Math.max(0, Math.floor(place / PAGE) * PAGE), last);
  draw();
}

function turn(pages) {
  const before = first;
  go(first + pages * PAGE);
  if (first !== before) window.scrollTo({ top: Math.min(window.scrollY, element("rows").offsetTop - 60) });
}

function draw() {
  const nodes = shown.slice(first, first + PAGE).map((row) => {
    const box = document.createElement("template");
    box.innerHTML = readData(row.markup);
    for (const image of box.content.querySelectorAll("img")) {
      const index = Number(image.getAttribute("src").slice(1));
      image.replaceWith(drawPicture(index, image.alt, { ...image.dataset }));
    }
    box.content.firstElementChild.classList.toggle("current", row === current);
    return box.content;
  });
  replacePictures(element("rows"), nodes);
  const pages = Math.ceil(shown.length / PAGE);
  element("place").textContent = pages ? `page ${first / PAGE + 1} of ${pages}` : "";
  element("found").textContent = counted(shown.length, "row");
  element("previous").disabled = first === 0;
  element("next").disabled = first + PAGE >= shown.length;
  element("nothing").hidden = shown.length > 0;
}

/** The next row of this number, for several data sets may have one; all rows are shown if the filter hides it. */
function jump(number) {
  const wanted = (row) => row.number === number;
  if (!shown.some(wanted)) {
    if (!rows.some(wanted)) return;
    element("filter").value = ALL;
    element("search").value = "";
    filter();
  }
  const after = shown.indexOf(current) + 1;
  const place = shown.findIndex((row, index) => index >= after && wanted(row));
  const found = place < 0 ? shown.findIndex(wanted) : place;
  current = shown[found];
  go(found);
  element("rows").children[found - first].scrollIntoView();
}

function choose(kind) {
  element("filter").value = kind;
  filter();
}

function build() {
  const problems = rows.filter((row) => row.kinds.length > 0).length;
  const count = (number) => number.toLocaleString("en");
  element("summary").textContent = problems
    ? `${counted(rows.length, "row")}; ${count(problems)} cannot be used:`
    : `${counted(rows.length, "row")}; all can be used.`;
  element("note").textContent = page.note;
  element("note").hidden = !page.note;
  const options = [[ALL, "all rows", rows.length], [PROBLEMS, "all problems", problems]];
  for (const [kind, number] of page.kinds) {
    options.push([kind, kind, number]);
    const button = document.createElement("button");
    const label = document.createElement("span");
    const amount = document.createElement("span");
    amount.className = "number";
    amount.textContent = count(number);
    label.textContent = kind;
    button.append(amount, label);
    button.addEventListener("click", () => choose(kind));
    const entry = document.createElement("li");
    entry.append(button);
    element("reasons").append(entry);
  }
  for (const [kind, label, number] of options) element("filter").append(new Option(`${label} (${count(number)})`, kind));
}

element("filter").addEventListener("change", filter);
element("search").addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(filter, 150);
});
element("jump").addEventListener("change", (event) => {
  if (event.target.value !== "") jump(Number(event.target.value));
});
element("previous").addEventListener("click", () => turn(-1));
element("next").addEventListener("click", () => turn(1));

listenTo({
  ArrowLeft: () => turn(-1),
  ArrowRight: () => turn(1),
  "/": () => element("search").focus(),
});

drawPlace(page.place);
build();
filter();
