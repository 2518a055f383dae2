// Clocks that run in the browser, so that the server need not push every second; and keys that go to the page alone.
(() => {
  const shown = (s) => s >= 60 ? `${Math.floor(s / 60)} 分 ${String(s % 60).padStart(2, "0")} 秒` : `${s} 秒`;
  const tick = () => {
    for (const one of document.querySelectorAll("[data-until]")) {
      const left = Math.floor((Date.parse(one.dataset.until) - Date.now()) / 1000);
      one.textContent = left > 0 ? `保留 ${shown(left)}` : "保留时间已到";
      one.classList.toggle("late", left <= 60);
    }
  };
  setInterval(tick, 500);

  // An Enter that ends the composing of Chinese is no answer.
  document.addEventListener("keydown", (e) => { if (e.isComposing) e.stopPropagation(); }, true);
  // The page's own listener comes after this one: under a dialog, and for Enter on a link, it gets nothing.
  document.addEventListener("keydown", (e) => {
    const pressed = e.key === "Enter" && document.activeElement?.closest("a, button, summary");
    if (e.key !== "Escape" && (pressed || document.querySelector(".q-dialog"))) e.stopImmediatePropagation();
  });
  // A case opened in another tab leaves the keys to this one.
  document.addEventListener("click", (e) => e.target.closest("a[target], summary")?.blur());
})();
