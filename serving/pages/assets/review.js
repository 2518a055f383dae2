// Clocks that run in the browser, so that the server need not push every second; and keys that go to the case alone.
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
})();
