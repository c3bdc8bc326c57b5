// The look at the pairs as a dialog: it takes the focus and keeps it, Escape leaves a field or closes it, and the focus
// goes back. The viewer's script stands before it.

const FOCUSABLE = "button:not([disabled]), input:not([disabled]), summary, [tabindex='0']";
const WAIT = 200;

const pairsBox = () => document.getElementById("fire_pairs");
const isSeen = (node) => Boolean(node) && node.getClientRects().length > 0;

function pressInBox(event) {
  const box = pairsBox();
  if (!isSeen(box) || document.querySelector("dialog[open]")) return;
  if (event.key === "Escape" && event.target.matches("input")) {
    setTimeout(() => box.focus()); // the field's own reaction comes first
  } else if (event.key === "Escape") {
    document.getElementById("fire_close_btn").click();
  } else if (event.key === "Tab") {
    const stops = [...box.querySelectorAll(FOCUSABLE)].filter(isSeen);
    const place = stops.indexOf(document.activeElement);
    const leaves = place < 0 || place === (event.shiftKey ? 0 : stops.length - 1);
    if (!leaves) return;
    event.preventDefault();
    stops.at(event.shiftKey ? -1 : 0).focus();
  }
}

/** Gradio shows and hides the window when the server has answered. */
function openBox(title) {
  let seen = false;
  const watch = setInterval(() => {
    const box = pairsBox();
    if (isSeen(box) && !seen) {
      seen = true;
      for (const [name, value] of [["role", "dialog"], ["aria-modal", "true"], ["aria-label", title]]) {
        box.setAttribute(name, value);
      }
      box.tabIndex = -1;
      box.focus();
    }
    if (!seen || isSeen(box)) return;
    clearInterval(watch);
    document.getElementById("fire_preview_btn")?.focus();
  }, WAIT);
}
