// What makes the pages better where scripts run. All of them work without it.
(() => {
  "use strict";
  const all = (selector, root = document) => Array.from(root.querySelectorAll(selector));
  const one = (selector, root = document) => root.querySelector(selector);

  // Times in the reader's zone; the exact UTC stays in the title.
  const localize = (root) => {
    for (const time of all("time[datetime]", root)) {
      const moment = new Date(time.dateTime);
      if (!Number.isNaN(moment.getTime())) {
        time.textContent = moment.toLocaleString(document.documentElement.lang || undefined, {
          dateStyle: "medium",
          timeStyle: "short",
        });
      }
    }
  };

  // Dialogs.
  const dialogs = () => {
    for (const opener of all("[data-opens]")) {
      const dialog = document.getElementById(opener.dataset.opens);
      if (dialog) {
        opener.addEventListener("click", (event) => {
          event.preventDefault();
          dialog.showModal();
        });
      }
    }
    for (const closer of all("[data-closes]")) {
      closer.addEventListener("click", () => closer.closest("dialog").close());
    }
    for (const dialog of all("dialog[data-open]")) {
      dialog.showModal();
    }
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
      const there = new Set(names().map((field) => field.value.trim()));
      for (const name of wanted) {
        if (!there.has(name)) {
          const empty = names().find((field) => !field.value.trim());
          if (empty) {
            empty.value = name;
          } else {
            add(name);
          }
        }
      }
      for (const field of names()) {
        field.toggleAttribute("data-marked", wanted.has(field.value.trim()));
        one('[name="context_value"]', field.closest("[data-row]")).required = wanted.has(field.value.trim());
      }
      const note = one("[data-needs-note]", form);
      if (note) {
        note.textContent = wanted.size ? `→ ${Array.from(wanted).join(", ")}` : "";
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
    form.addEventListener("submit", () => {
      for (const button of all("button:not([type=button])", form)) {
        setTimeout(() => {
          button.disabled = true;
        });
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
        const time = document.createElement("time");
        time.dateTime = seen.lastUsedAt;
        time.title = seen.lastUsedAt;
        one("[data-last]", card).replaceChildren(time);
        localize(card);
      }
      draw(one("svg", card), seen.counts.map((count) => count.requests));
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
      const sentence = one("[data-sentence]", part);
      if (sentence.textContent !== seen.sentence) {
        sentence.textContent = seen.sentence;
      }
      if (seen.lastCaller) {
        const caller = one("[data-caller]", part);
        caller.hidden = false;
        const time = document.createElement("time");
        time.dateTime = seen.lastCaller.occurredAt;
        time.title = seen.lastCaller.occurredAt;
        one("[data-caller-time]", caller).replaceChildren(time);
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
