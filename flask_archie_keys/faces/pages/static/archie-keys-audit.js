// The chart over the audit log: a range is chosen by dragging or by keyboard, put into the form, and the form is sent.
(() => {
  "use strict";
  const language = document.documentElement.lang.split("-")[0];
  const locale = navigator.languages.find((each) => each.split("-")[0] === language) || language || undefined;

  // Times to the second, in the reader's zone; the year where it is another one.
  for (const time of document.querySelectorAll("time[data-seconds]")) {
    const moment = new Date(time.dateTime);
    const day = { month: "short", day: "numeric", hour: "numeric", minute: "2-digit", second: "2-digit" };
    if (moment.getFullYear() !== new Date().getFullYear()) {
      day.year = "numeric";
    }
    time.textContent = moment.toLocaleString(locale, day);
  }

  for (const chart of document.querySelectorAll("[data-chart]")) {
    const form = document.getElementById(chart.dataset.chart);
    const svg = chart.querySelector("svg");
    const bars = Array.from(chart.querySelectorAll("[data-since]"));
    const chosen = chart.querySelector("[data-chosen]");
    const now = document.querySelector("[data-chart-now]");
    const width = svg.viewBox.baseVal.width / bars.length;
    const format = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "medium" });
    let from = -1;
    let to = -1;

    const span = () => [Math.min(from, to), Math.max(from, to)];
    const words = () => {
      const [first, last] = span();
      const total = bars.slice(first, last + 1).reduce((sum, bar) => sum + Number(bar.dataset.total), 0);
      const [since, until] = [bars[first].dataset.since, bars[last].dataset.until].map((text) => new Date(`${text}Z`));
      return `${format.formatRange(since, until)}: ${total.toLocaleString(locale)}`;
    };
    const show = () => {
      const free = from < 0;
      chosen.toggleAttribute("hidden", free);
      if (free) {
        now.textContent = "";
        return;
      }
      const [first, last] = span();
      chosen.setAttribute("x", first * width);
      chosen.setAttribute("width", (last - first + 1) * width);
      now.textContent = words();
      chart.setAttribute("aria-valuenow", to);
      chart.setAttribute("aria-valuetext", now.textContent);
    };
    const choose = (start, end) => {
      [from, to] = [start, end].map((each) => Math.max(0, Math.min(bars.length - 1, each)));
      show();
    };
    const letGo = () => {
      from = to = -1;
      show();
    };
    const apply = () => {
      const [first, last] = span();
      form.elements.since.value = bars[first].dataset.since;
      form.elements.until.value = bars[last].dataset.until;
      form.requestSubmit();
    };

    // by keyboard
    chart.tabIndex = 0;
    chart.setAttribute("role", "slider");
    chart.setAttribute("aria-label", chart.dataset.label);
    chart.setAttribute("aria-describedby", chart.dataset.help);
    chart.setAttribute("aria-valuemin", 0);
    chart.setAttribute("aria-valuemax", bars.length - 1);
    chart.setAttribute("aria-valuenow", bars.length - 1);
    chart.setAttribute("aria-valuetext", svg.getAttribute("aria-label"));
    chart.addEventListener("keydown", (event) => {
      const moves = { ArrowLeft: -1, ArrowRight: 1, ArrowDown: -1, ArrowUp: 1, Home: -Infinity, End: Infinity };
      if (event.key in moves) {
        const at = from < 0 ? (moves[event.key] > 0 ? -1 : bars.length) : to;
        const next = Math.max(0, Math.min(bars.length - 1, at + moves[event.key]));
        choose(event.shiftKey && from >= 0 ? from : next, next);
      } else if (event.key === "Enter" && from >= 0) {
        apply();
      } else if (event.key === "Escape" && from >= 0) {
        letGo();
      } else {
        return;
      }
      event.preventDefault();
    });

    // by dragging
    const at = (event) => {
      const box = svg.getBoundingClientRect();
      return Math.floor(((event.clientX - box.left) / box.width) * bars.length);
    };
    let dragging = false;
    chart.addEventListener("pointerdown", (event) => {
      if (event.button === 0) {
        dragging = true;
        chart.setPointerCapture(event.pointerId);
        choose(at(event), at(event));
        event.preventDefault();
        chart.focus({ focusVisible: false });
      }
    });
    chart.addEventListener("pointermove", (event) => {
      if (dragging) {
        choose(from, at(event));
      }
    });
    chart.addEventListener("pointerup", () => {
      if (dragging) {
        dragging = false;
        apply();
      }
    });
    chart.addEventListener("pointercancel", () => {
      dragging = false;
      letGo();
    });
  }
})();
