// SPDX-License-Identifier: GPL-3.0-or-later
// What the page can do beyond being read: filter, copy, unfold, change its colours.
"use strict";
(() => {
  const all = (css, root = document) => [...root.querySelectorAll(css)];
  const one = (css) => document.querySelector(css);
  const root = document.documentElement;

  // ---- colours
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const theme = one("#theme");
  const remembered = (value) => {
    try {
      if (value !== undefined) localStorage.setItem("certlogon-theme", value);
      return localStorage.getItem("certlogon-theme");
    } catch {
      return null;
    }
  };
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);
  const showTheme = () => {
    theme.setAttribute("aria-pressed", String(isDark()));
    theme.textContent = isDark() ? "Light" : "Dark";
    theme.setAttribute("aria-label", isDark() ? "Dark colours are on" : "Dark colours are off");
  };
  if (["dark", "light"].includes(remembered())) root.dataset.theme = remembered();
  theme.hidden = false;
  theme.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    remembered(root.dataset.theme);
    showTheme();
  });
  dark.addEventListener("change", showTheme);
  showTheme();

  // ---- filter
  const form = one("#filter"), search = one("#search"), shown = one("#shown"), nothing = one("#nothing");
  const selects = all("select[data-by]", form);
  const groups = all("[data-group]");
  const rows = all("[data-row]").map((element) => ({ element, text: null, group: element.closest("[data-group]") }));
  const heads = new Map(groups.map((group) => [group, null]));
  const headOf = (group) => {
    if (heads.get(group) === null) heads.set(group, all(":scope > h3, :scope > p:not([data-row])", group).map((each) => each.textContent).join(" ").toLowerCase());
    return heads.get(group);
  };
  const textOf = (row) => (row.text ??= `${row.element.textContent} ${row.element.dataset.target}`.toLowerCase());
  const matches = (row, wanted, words) =>
    wanted.every(([by, value]) => (by === "target" ? row.element.dataset.target.split("|").includes(value) : row.element.dataset[by] === value)) &&
    words.every((word) => textOf(row).includes(word) || (row.group && headOf(row.group).includes(word)));
  const apply = () => {
    const wanted = selects.filter((select) => select.value).map((select) => [select.dataset.by, select.value]);
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const filled = new Set();
    let count = 0;
    for (const row of rows) {
      const stays = matches(row, wanted, words);
      row.element.hidden = !stays;
      if (stays) {
        filled.add(row.group);
        count += 1;
      }
    }
    for (const group of groups) group.hidden = !filled.has(group);
    const filtered = wanted.length + words.length > 0;
    for (const rest of all("details.rest")) {
      if (filtered !== root.classList.contains("filtered")) rest.open = filtered;
      rest.hidden = !rest.querySelector("[data-row]:not([hidden])");
    }
    shown.textContent = filtered ? `${count} of ${rows.length} entries` : "";
    nothing.hidden = !(filtered && count === 0);
    root.classList.toggle("filtered", filtered);
  };
  form.hidden = false;
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(apply));
  one("[data-reset]").addEventListener("click", () => form.reset());
  for (const link of all("[data-filter-family]")) {
    link.addEventListener("click", () => {
      one("select[data-by=family]").value = link.dataset.filterFamily;
      apply();
    });
  }
  document.addEventListener("keydown", (event) => {
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      search.focus();
    } else if (event.key === "Escape" && event.target === search) {
      form.reset();
    }
  });

  // ---- unfold, also for paper and for links into what is folded
  const unfold = one("#unfold");
  const foldable = () => all("#results details");
  unfold.addEventListener("click", () => {
    const open = unfold.getAttribute("aria-pressed") !== "true";
    for (const each of foldable()) each.open = open && !each.closest("#controls");
    unfold.setAttribute("aria-pressed", String(open));
    unfold.textContent = open ? "Fold" : "Unfold";
  });
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = all("details:not([open])").filter((each) => !each.closest("#controls"));
    for (const each of folded) each.open = true;
  });
  addEventListener("afterprint", () => {
    for (const each of folded) each.open = false;
  });
  const reveal = () => {
    const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    for (let each = target.closest("details"); each; each = each.parentElement.closest("details")) each.open = true;
    if (target.closest("[hidden]")) form.reset();
    target.scrollIntoView();
  };
  addEventListener("hashchange", reveal);
  reveal();

  // ---- copy
  const copied = async (text) => {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      const field = document.createElement("textarea");
      field.value = text;
      field.className = "hidden";
      document.body.append(field);
      field.select();
      const done = document.execCommand("copy");
      field.remove();
      return done;
    }
  };
  for (const button of all("[data-copy]")) {
    const label = button.textContent;
    button.hidden = false;
    button.addEventListener("click", async (event) => {
      event.preventDefault();
      button.textContent = (await copied(button.dataset.copy)) ? "copied" : "not copied";
      button.focus();
      setTimeout(() => (button.textContent = label), 1500);
    });
  }
})();
