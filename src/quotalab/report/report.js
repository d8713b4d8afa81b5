// Zoom and hover on the curves of limits. Without it the page shows the same curves, standing still.
(() => {
  "use strict";
  const find = (list, t) => {  // the last place whose time is not after t; -1: none
    let low = 0, high = list.length;
    while (low < high) { const middle = (low + high) >> 1; if (list[middle] <= t) low = middle + 1; else high = middle; }
    return low - 1;
  };
  const two = (n) => String(n).padStart(2, "0");
  const at = (ms, seconds) => {
    const d = new Date(ms), day = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"][d.getUTCDay()];
    const clock = `${two(d.getUTCHours())}:${two(d.getUTCMinutes())}`;
    return seconds ? `${day} ${d.getUTCDate()} ${clock}:${two(d.getUTCSeconds())}` : clock;
  };
  const steps = [1, 2, 5, 10, 30, 60, 300, 600, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 604800].map((s) => s * 1000);

  const live = (figure) => {
    const data = JSON.parse(figure.dataset.series), still = figure.querySelector("svg");
    for (const curve of data.curves) { let t = 0; curve.t = curve.t.map((step) => (t += step)); }
    const make = (tag, name, into) => { const e = document.createElement(tag); if (name) e.className = name; into.append(e); return e; };
    const box = document.createElement("div");
    box.className = "live";
    const bar = make("div", "tools", box);
    const canvas = make("canvas", "", box);
    const tip = make("output", "tip", box);
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `${still.getAttribute("aria-label")} Keys: plus and minus zoom, arrows move, 0 shows all.`);
    tip.textContent = "Drag over a stretch to zoom in; point at the curve to read it.";
    const words = document.createElement("span");
    words.className = "words";
    for (const [text, colour] of data.key) { const one = make("b", "", words); one.textContent = text; one.style.color = `var(--${colour})`; }
    for (const mark of data.marks) { make("span", "soft", words).textContent = `${mark[2]} ${mark[3]}`; }
    bar.append(words);
    const whole = [0, data.span];
    let view = whole, cursor = null, drag = null, due = false;
    const later = () => { if (!due) { due = true; requestAnimationFrame(draw); } };
    const show = (from, to) => {
      const least = Math.min(data.span, 1000), width = Math.min(data.span, Math.max(least, to - from));
      const begin = Math.min(Math.max(0, from), data.span - width);
      view = [begin, begin + width];
      later();
    };
    const zoom = (factor, about) => {
      const middle = about ?? (cursor !== null && cursor > view[0] && cursor < view[1] ? cursor : (view[0] + view[1]) / 2);
      show(middle - (middle - view[0]) * factor, middle + (view[1] - middle) * factor);
    };
    const move = (share) => { const by = share * (view[1] - view[0]); show(view[0] + by, view[1] + by); };
    const button = (text, label, act) => {
      const one = make("button", "", bar);
      one.type = "button"; one.textContent = text; one.setAttribute("aria-label", label); one.title = label;
      one.addEventListener("click", act);
    };
    button("+", "Zoom in", () => zoom(0.5));
    button("−", "Zoom out", () => zoom(2));
    button("◀", "Earlier", () => move(-0.4));
    button("▶", "Later", () => move(0.4));
    button("All", "Show the whole run", () => show(...whole));
    const edge = { left: 46, right: 10, top: 14, bottom: 22 };
    const value = (curve, t) => {
      const i = find(curve.t, t);
      if (i < 0) return 0;
      if (!curve.slopes || i + 1 >= curve.t.length) return curve.v[i];
      const share = (t - curve.t[i]) / Math.max(1, curve.t[i + 1] - curve.t[i]);
      return curve.v[i] + share * (curve.v[i + 1] - curve.v[i]);
    };
    const tell = () => {
      const parts = data.curves.map((curve) => `${curve.label}: ${+value(curve, cursor).toFixed(2)}`);
      const limit = data.limit.v[Math.max(0, find(data.limit.t, cursor))];
      tip.textContent = `${at(data.start + cursor, true)} UTC: ${parts.join(", ")}, limit: ${limit}`;
    };
    const draw = () => {
      due = false;
      const css = getComputedStyle(document.documentElement), colour = (name) => css.getPropertyValue(`--${name}`).trim();
      const width = box.clientWidth, height = Math.max(190, Math.min(270, width * 0.29)), ratio = devicePixelRatio || 1;
      canvas.width = width * ratio; canvas.height = height * ratio; canvas.style.height = `${height}px`;
      const g = canvas.getContext("2d");
      g.scale(ratio, ratio);
      g.font = `11px ${getComputedStyle(document.body).fontFamily}`;
      const inner = width - edge.left - edge.right, tall = height - edge.top - edge.bottom;
      const x = (t) => edge.left + ((t - view[0]) / (view[1] - view[0])) * inner;
      const y = (v) => edge.top + tall * (1 - v / data.most);
      // Levels
      let rise = 10 ** Math.floor(Math.log10(data.most / 3 || 1));
      rise *= data.most / rise > 12 ? 5 : data.most / rise > 6 ? 2 : 1;
      g.textBaseline = "middle"; g.textAlign = "right"; g.lineWidth = 0.7;
      for (let v = 0; v <= data.most; v += rise) {
        g.strokeStyle = colour("grid"); g.globalAlpha = 0.35;
        g.beginPath(); g.moveTo(edge.left, y(v)); g.lineTo(width - edge.right, y(v)); g.stroke();
        g.globalAlpha = 1; g.fillStyle = colour("ink"); g.fillText(+v.toFixed(6), edge.left - 6, y(v));
      }
      // Times
      const step = steps.find((s) => (view[1] - view[0]) / s <= inner / 70) || steps.at(-1) * Math.ceil((view[1] - view[0]) / steps.at(-1) / 10);
      g.textAlign = "center"; g.textBaseline = "top";
      for (let t = Math.ceil((data.start + view[0]) / step) * step; t <= data.start + view[1]; t += step) {
        const words = step < 60000 ? at(t, true).slice(-8) : step >= 86400000 || (t % 86400000 === 0 && data.span > 108e6) ? at(t, true).slice(0, -9) : at(t);
        g.fillText(words, Math.min(Math.max(x(t - data.start), edge.left), width - edge.right - 12), height - edge.bottom + 6);
      }
      g.save(); g.beginPath(); g.rect(edge.left, 0, inner, height); g.clip();
      for (const [from, to, letter] of data.marks) {
        if (to > from) { g.globalAlpha = 0.2; g.fillStyle = colour("grid"); g.fillRect(x(from), edge.top, x(to) - x(from), tall); g.globalAlpha = 1; }
        g.strokeStyle = colour("ink"); g.setLineDash([1, 3]); g.lineWidth = 1;
        g.beginPath(); g.moveTo(x(from), edge.top); g.lineTo(x(from), edge.top + tall); g.stroke(); g.setLineDash([]);
        g.fillStyle = colour("ink"); g.textAlign = "left"; g.fillText(letter, x(from) + 3, edge.top);
      }
      for (const curve of data.curves) {
        const first = Math.max(0, find(curve.t, view[0])), last = Math.min(curve.t.length - 1, find(curve.t, view[1]) + 1);
        g.beginPath();
        g.moveTo(x(curve.t[first]), y(curve.v[first]));
        for (let i = first + 1; i <= last; i++) {
          if (!curve.slopes) g.lineTo(x(curve.t[i]), y(curve.v[i - 1]));
          g.lineTo(x(curve.t[i]), y(curve.v[i]));
        }
        g.strokeStyle = g.fillStyle = colour(curve.colour); g.lineWidth = 1.4; g.stroke();
        g.lineTo(x(curve.t[last]), y(0)); g.lineTo(x(curve.t[first]), y(0)); g.globalAlpha = 0.14; g.fill(); g.globalAlpha = 1;
      }
      g.beginPath(); g.strokeStyle = colour("limit"); g.lineWidth = 1.3; g.setLineDash([6, 4]);
      data.limit.t.forEach((t, i) => {
        g.lineTo(x(t), y(data.limit.v[i])); g.lineTo(x(data.limit.t[i + 1] ?? data.span), y(data.limit.v[i]));
      });
      g.stroke(); g.setLineDash([]);
      if (drag && drag.to !== null) {
        g.globalAlpha = 0.18; g.fillStyle = colour("ink"); g.fillRect(x(drag.from), edge.top, x(drag.to) - x(drag.from), tall); g.globalAlpha = 1;
      }
      if (cursor !== null && cursor >= view[0] && cursor <= view[1]) {
        g.strokeStyle = colour("ink"); g.lineWidth = 1;
        g.beginPath(); g.moveTo(x(cursor), edge.top); g.lineTo(x(cursor), edge.top + tall); g.stroke();
        for (const curve of data.curves) {
          g.fillStyle = colour(curve.colour); g.beginPath(); g.arc(x(cursor), y(value(curve, cursor)), 3.5, 0, 7); g.fill();
        }
      }
      g.restore();
    };
    const time = (event) => {
      const inner = canvas.clientWidth - edge.left - edge.right;
      const share = (event.clientX - canvas.getBoundingClientRect().left - edge.left) / inner;
      return view[0] + Math.min(1, Math.max(0, share)) * (view[1] - view[0]);
    };
    canvas.addEventListener("pointerdown", (event) => { drag = { from: time(event), to: null, x: event.clientX }; canvas.setPointerCapture(event.pointerId); });
    canvas.addEventListener("pointermove", (event) => {
      cursor = time(event);
      if (drag && Math.abs(event.clientX - drag.x) > 6) drag.to = cursor;
      tell(); later();
    });
    canvas.addEventListener("pointerup", () => {
      if (drag && drag.to !== null) show(Math.min(drag.from, drag.to), Math.max(drag.from, drag.to));
      drag = null; later();
    });
    canvas.addEventListener("pointercancel", () => { drag = null; later(); });
    canvas.addEventListener("pointerleave", () => { if (!drag) { cursor = null; later(); } });
    canvas.addEventListener("dblclick", () => show(...whole));
    canvas.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.shiftKey) return;  // the page scrolls
      event.preventDefault(); zoom(event.deltaY + event.deltaX > 0 ? 1.25 : 0.8, time(event));
    }, { passive: false });
    canvas.addEventListener("keydown", (event) => {
      const wide = view[1] - view[0];
      const acts = {
        "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), "0": () => show(...whole), Home: () => show(0, wide), End: () => show(data.span - wide, data.span),
        ArrowLeft: () => step(-1), ArrowRight: () => step(1),
      };
      const step = (way) => {
        cursor = Math.min(data.span, Math.max(0, (cursor ?? view[0]) + way * wide / 50));
        if (cursor < view[0]) move(-0.4); else if (cursor > view[1]) move(0.4);
        tell(); later();
      };
      if (acts[event.key] && !event.ctrlKey && !event.metaKey && !event.altKey) { event.preventDefault(); acts[event.key](); }
    });
    still.closest(".scroll").before(box);
    figure.classList.add("moves");
    new ResizeObserver(later).observe(box);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", later);
    draw();
  };
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) { seen.unobserve(entry.target); live(entry.target); }
  }, { rootMargin: "200px" });
  for (const figure of document.querySelectorAll("figure[data-series]")) {
    const place = figure.getBoundingClientRect();
    if (place.top < innerHeight + 200 && place.bottom > -200) live(figure); else seen.observe(figure);
  }
  addEventListener("beforeprint", () => { for (const d of document.querySelectorAll(".rule > details, .findings details")) d.open = true; });
})();
