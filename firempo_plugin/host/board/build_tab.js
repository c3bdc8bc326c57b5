// What was started in another window is seen when this one is looked at again.

() => {
  if (window.firempoLooks) return;
  window.firempoLooks = () => document.getElementById("fire_build_again")?.click();
  window.addEventListener("focus", window.firempoLooks);
}
