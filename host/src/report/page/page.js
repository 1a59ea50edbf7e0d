"use strict";
(() => {
  const tip = document.getElementById("tip");
  const kept = "lorahost:" + location.pathname;

  // What a mark is about: its own words, or the row of its run.
  const words = (mark) => {
    if (mark.dataset.t !== undefined) return mark.dataset.t;
    const row = document.getElementById("r" + mark.dataset.r);
    if (!row) return "";
    const titles = row.closest("table").tHead.rows[0].cells;
    const lines = [];
    for (let i = 0; i < row.cells.length; i++) {
      const text = row.cells[i].textContent;
      if (text) lines.push(titles[i].textContent + ": " + text);
    }
    return lines.join("\n");
  };

  const show = (mark, x, y) => {
    tip.textContent = words(mark);
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    const left = Math.min(x + 14, innerWidth - box.width - 8);
    const above = y + 18 + box.height > innerHeight;
    tip.style.left = Math.max(8, left) + "px";
    tip.style.top = Math.max(8, above ? y - box.height - 12 : y + 18) + "px";
  };

  const about = (event) => event.target.closest("[data-r],[data-t]");
  document.addEventListener("pointerover", (event) => {
    const mark = about(event);
    if (mark) show(mark, event.clientX, event.clientY);
    else tip.hidden = true;
  });
  document.documentElement.addEventListener("pointerleave", () => { tip.hidden = true; });
  document.addEventListener("click", (event) => {
    const mark = event.target.closest("[data-r]");
    if (mark) location.hash = "r" + mark.dataset.r;
  });

  // One switch a series, for all figures that it stands in.
  const off = new Set();
  const draw = (id) => {
    const hidden = off.has(id);
    for (const part of document.querySelectorAll('[data-s="' + CSS.escape(id) + '"]')) {
      if (part.tagName === "BUTTON") part.setAttribute("aria-pressed", String(!hidden));
      else part.classList.toggle("off", hidden);
    }
  };
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-s]");
    if (!button) return;
    const id = button.dataset.s;
    if (!off.delete(id)) off.add(id);
    draw(id);
  });

  // A page that is still being written loads itself again, and looks as it did.
  const seconds = Number(document.body.dataset.reload);
  if (!seconds) return;
  try {
    const state = JSON.parse(sessionStorage.getItem(kept) || "{}");
    for (const id of state.off || []) {
      off.add(id);
      draw(id);
    }
    if (state.top) scrollTo(0, state.top);
  } catch {
    // A browser may keep nothing for files.
  }
  const again = () => {
    if (!tip.hidden) {
      setTimeout(again, 500);
      return;
    }
    try {
      sessionStorage.setItem(kept, JSON.stringify({ off: [...off], top: scrollY }));
    } catch {
      // As above.
    }
    location.reload();
  };
  setTimeout(again, seconds * 1000);
})();
