// What makes the pages better where scripts run. All of them work without it.
(() => {
  "use strict";
  const all = (selector, root = document) => Array.from(root.querySelectorAll(selector));
  const one = (selector, root = document) => root.querySelector(selector);

  // Times in the reader's zone and, where it is of the page's language, in the reader's way; the exact UTC is in the title.
  const language = document.documentElement.lang.split("-")[0];
  const locale = navigator.languages.find((each) => each.split("-")[0] === language) || language || undefined;
  const timeOf = (moment) => {
    const time = document.createElement("time");
    time.dateTime = moment;
    time.title = moment.replace("T", " ").replace("Z", " UTC");
    return time;
  };
  const localize = (root) => {
    for (const time of all("time[datetime]", root)) {
      const moment = new Date(time.dateTime);
      if (!Number.isNaN(moment.getTime())) {
        time.textContent = moment.toLocaleString(locale, {
          dateStyle: "medium",
          timeStyle: "short",
        });
      }
    }
  };

  // Dialogs. They begin at the first mistake, or at the first field.
  const show = (dialog) => {
    dialog.showModal();
    const field = one("[aria-invalid]", dialog) || one("input:not([type=hidden])", dialog);
    if (field) {
      field.focus();
    }
  };
  const dialogs = () => {
    for (const opener of all("[data-opens]")) {
      const dialog = document.getElementById(opener.dataset.opens);
      if (dialog) {
        opener.addEventListener("click", (event) => {
          event.preventDefault();
          show(dialog);
        });
      }
    }
    for (const closer of all("[data-closes]")) {
      closer.addEventListener("click", () => closer.closest("dialog").close());
    }
    all("dialog[data-open]").forEach(show);
  };

  // The form of a key.
  const keyForm = (form) => {
    const prefix = one("[data-prefix]", form);
    const preview = one("[data-prefix-preview]", form);
    if (prefix && preview) {
      const show = () => {
        preview.textContent = `${prefix.value.trim() || preview.dataset.default}_7f3Kq2Zt9bXa_…`;
      };
      prefix.addEventListener("input", show);
      show();
    }
    const expires = one("[data-expires]", form);
    const on = one("[data-expires-on]", form);
    if (expires && on) {
      const show = () => {
        on.hidden = expires.value !== "date";
      };
      expires.addEventListener("change", show);
      show();
    }
    const rows = one("[data-rows]", form);
    const template = one("[data-row-template]", form);
    if (!rows || !template) {
      return;
    }
    const add = (name) => {
      const row = template.content.firstElementChild.cloneNode(true);
      const field = one('[name="context_name"]', row);
      field.value = name;
      rows.append(row);
      return row;
    };
    const names = () => all('[name="context_name"]', rows);
    const need = () => {
      const wanted = new Set();
      for (const role of all('[name="roles"]:checked', form)) {
        for (const name of role.dataset.needs.split(" ").filter(Boolean)) {
          wanted.add(name);
        }
      }
      for (const field of names()) {
        const row = field.closest("[data-row]");
        const untouched = "added" in row.dataset && !one('[name="context_value"]', row).value;
        if (untouched && !wanted.has(field.value.trim())) {
          row.remove();
        }
      }
      const there = new Set(names().map((field) => field.value.trim()));
      for (const name of wanted) {
        if (!there.has(name)) {
          const empty = names().find((field) => !field.value.trim());
          if (empty) {
            empty.value = name;
            empty.closest("[data-row]").dataset.added = "";
          } else {
            add(name).dataset.added = "";
          }
        }
      }
      for (const field of names()) {
        field.toggleAttribute("data-marked", wanted.has(field.value.trim()));
        one('[name="context_value"]', field.closest("[data-row]")).required = wanted.has(field.value.trim());
      }
      const note = one("[data-needs-note]", form);
      if (note) {
        note.textContent = wanted.size ? `${note.dataset.needsNote} ${Array.from(wanted).sort().join(", ")}` : "";
      }
    };
    const adder = one("[data-add-row]", form);
    adder.addEventListener("click", () => one("input", add("")).focus());
    rows.addEventListener("click", (event) => {
      const remover = event.target.closest("[data-remove-row]");
      if (remover) {
        remover.closest("[data-row]").remove();
        adder.focus();
        need();
      }
    });
    for (const role of all('[name="roles"]', form)) {
      role.addEventListener("change", need);
    }
    need();
  };

  // A form that makes a key is sent once.
  const once = (form) => {
    const buttons = all("button:not([type=button])", form);
    let sent = false;
    form.addEventListener("submit", (event) => {
      if (sent) {
        event.preventDefault();
      }
      sent = true;
      for (const button of buttons) {
        setTimeout(() => {
          button.disabled = true;
        });
      }
    });
    addEventListener("pageshow", () => {
      sent = false;
      for (const button of buttons) {
        button.disabled = false;
      }
    });
  };

  // Copying; and a secret does not stay in a page that is left.
  const copying = () => {
    for (const button of all("[data-copies]")) {
      button.addEventListener("click", async () => {
        const field = document.getElementById(button.dataset.copies);
        try {
          await navigator.clipboard.writeText(field.value);
        } catch {
          field.select();
          document.execCommand("copy");
        }
        one("[data-copy-status]").textContent = button.dataset.copied;
        button.textContent = button.dataset.copied;
      });
    }
    if (one("[data-secret]")) {
      addEventListener("pagehide", () => {
        for (const field of all("[data-secret] input")) {
          field.value = "";
        }
        for (const text of all("[data-secret-text]")) {
          text.textContent = "";
        }
      });
    }
  };

  // A rotation, as it goes on. It rests while nobody looks.
  const watching = (part) => {
    const show = (side, seen) => {
      const card = one(`[data-side="${side}"]`, part);
      one("[data-requests]", card).textContent = seen.requests;
      if (seen.lastUsedAt) {
        one("[data-last]", card).replaceChildren(timeOf(seen.lastUsedAt));
        localize(card);
      }
      const svg = one("svg", card);
      draw(svg, seen.counts.map((count) => count.requests));
      svg.setAttribute("aria-label", seen.label);
    };
    const step = (now) => {
      all("[data-step]", part).forEach((item, number) => {
        item.classList.toggle("archie-done", number + 1 < now || now === 4);
        item.toggleAttribute("aria-current", false);
        if (number + 1 === now && now !== 4) {
          item.setAttribute("aria-current", "step");
        }
      });
    };
    const look = async () => {
      if (document.hidden) {
        return;
      }
      let seen;
      try {
        const answer = await fetch(part.dataset.watch, { headers: { "X-Requested-With": "fetch" } });
        if (!answer.ok) {
          return;
        }
        seen = await answer.json();
      } catch {
        return;
      }
      show("old", seen.old);
      show("new", seen.new);
      step(seen.step);
      const sentence = one("[data-sentence]", part);
      if (sentence.textContent !== seen.sentence) {
        sentence.textContent = seen.sentence;
      }
      if (seen.lastCaller) {
        const caller = one("[data-caller]", part);
        caller.hidden = false;
        one("[data-caller-time]", caller).replaceChildren(timeOf(seen.lastCaller.occurredAt));
        one("[data-caller-address]", caller).textContent = seen.lastCaller.remoteAddress || "–";
        one("[data-caller-agent]", caller).textContent = seen.lastCaller.userAgent || "–";
        one("[data-caller-request]", caller).textContent = `${seen.lastCaller.method} ${seen.lastCaller.path}`;
        localize(caller);
      }
    };
    setInterval(look, 2000);
    document.addEventListener("visibilitychange", look);
  };

  const draw = (svg, counts) => {
    const { width, height } = svg.viewBox.baseVal;
    const most = Math.max(1, ...counts);
    const step = width / counts.length;
    for (const bar of all("rect", svg)) {
      bar.remove();
    }
    counts.forEach((count, number) => {
      if (count) {
        const bar = document.createElementNS("http://www.w3.org/2000/svg", "rect");
        const tall = Math.max((count * height) / most, 1);
        bar.setAttribute("x", number * step);
        bar.setAttribute("y", height - tall);
        bar.setAttribute("width", Math.max(step - 1, 0.5));
        bar.setAttribute("height", tall);
        svg.append(bar);
      }
    });
  };

  for (const each of all(".archie-scripted")) {
    each.hidden = false;
  }
  localize(document);
  dialogs();
  all("form").filter((form) => one("[data-rows]", form)).forEach(keyForm);
  all("form[data-once]").forEach(once);
  copying();
  all("[data-watch]").forEach(watching);
})();
