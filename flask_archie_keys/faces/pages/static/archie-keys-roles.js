// The permission matrix: rows are added in place, and what is typed is checked as it is typed.
(() => {
  "use strict";
  const one = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => Array.from(root.querySelectorAll(selector));

  for (const form of all("[data-matrix]")) {
    const rows = one("[data-matrix-rows]", form);
    const template = one("[data-matrix-template]", form);
    const lockedOut = one("[data-locked-out]", form);
    const errors = one("[data-matrix-errors]", form);
    const preview = one("[data-preview]", form);
    let next = all("[data-row]", rows).length;
    let timer;
    let asking;

    const mark = () => {
      for (const row of all("[data-row]", rows)) {
        const used = one("input:checked", row) || one(".archie-filter", row).value.trim();
        row.classList.toggle("archie-used", Boolean(used));
      }
    };

    const show = (found) => {
      for (const row of all("[data-row]", rows)) {
        const mistakes = found.rows[row.dataset.row] || [];
        const place = one("[data-row-mistake]", row);
        const said = mistakes.join(" ");
        if (place.textContent !== said) {
          place.textContent = said;
        }
        one(".archie-filter", row).toggleAttribute("aria-invalid", false);
        if (mistakes.length) {
          one(".archie-filter", row).setAttribute("aria-invalid", "true");
        }
      }
      errors.textContent = found.errors.join(" ");
      lockedOut.textContent = found.lockedOut;
      lockedOut.hidden = !found.lockedOut;
      if (preview) {
        preview.setAttribute("aria-busy", String(!found.preview)); // what is shown is of before the mistake
      }
      if (preview && (found.preview || !one("#preview-key", form).value.trim())) {
        const page = new DOMParser().parseFromString(found.preview, "text/html");
        preview.replaceChildren(...page.body.childNodes);
      }
    };

    const check = async () => {
      asking?.abort();
      asking = new AbortController();
      const sent = new FormData(form);
      sent.delete("do");
      try {
        const answer = await fetch(form.dataset.matrix, {
          method: "POST",
          body: new URLSearchParams(sent),
          headers: { "X-CSRFToken": form.elements.csrf_token.value },
          signal: asking.signal,
        });
        if (answer.ok) {
          show(await answer.json());
        }
      } catch {
        // the next key stroke asks again, and saving says the same
      }
    };

    const later = () => {
      mark();
      clearTimeout(timer);
      timer = setTimeout(check, 350);
    };

    form.addEventListener("input", later);
    form.addEventListener("change", later);

    const adder = one("[data-matrix-add]", form);
    adder.type = "button";
    adder.addEventListener("click", () => {
      const row = document.importNode(template.content, true).firstElementChild;
      for (const part of [row, ...all("*", row)]) {
        for (const attribute of Array.from(part.attributes)) {
          if (attribute.value.includes("0000")) {
            attribute.value = attribute.value.replace("0000", next);
          }
        }
      }
      next += 1;
      rows.append(row);
      one("select", row).focus();
    });

    const shower = one("[data-preview-show]", form);
    if (shower) {
      shower.type = "button";
      shower.addEventListener("click", check);
      if (one("#preview-key", form).value && !preview.firstElementChild) {
        check();
      }
    }
  }
})();
